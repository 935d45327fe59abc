"""How near the engine is to measured replicas, and the peers to their own code."""
