"""Ray Serve's autoscaler (2.60): merged request counts, the default policy and its delays."""
