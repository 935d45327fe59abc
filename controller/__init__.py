"""The operator: what steelyard decides, and how it meets the cluster."""
