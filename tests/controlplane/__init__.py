"""The local control plane of the tests: real Kubernetes and Prometheus, fake GPU nodes."""
