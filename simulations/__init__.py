"""Replays real traffic through the controller's own decision code, beside peers and bounds."""
