"""Rules that keep a recommendation safe, one per module."""
