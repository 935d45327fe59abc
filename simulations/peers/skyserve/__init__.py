"""SkyServe (skypilot 0.14.1): requests/s against a target, its spot and on-demand mix."""
