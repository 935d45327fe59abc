"""The inferno queueing solver."""
