"""Crane's DSP."""
