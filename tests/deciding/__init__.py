"""Objects, observations and decisions as the operator's adapters are told of them."""
