"""The operator: what runs in the cluster. Imperative; it puts the adapters together."""
