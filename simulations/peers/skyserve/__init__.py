"""SkyServe."""
