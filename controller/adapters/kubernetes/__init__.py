"""The Kubernetes API: what is read by watches, and every write of the operator's."""
