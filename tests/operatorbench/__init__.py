"""The benchmark of the operator on a real API server and a real Prometheus."""
