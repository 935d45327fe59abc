"""Adapters: the ports over one external system each. Nothing else touches the outside."""
