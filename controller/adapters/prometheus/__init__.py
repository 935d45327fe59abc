"""Prometheus, or what speaks its API: live metrics, history, and the recording rules we ship."""
