"""Peers, each held to its laws; what their tests plan for is in `building`."""
