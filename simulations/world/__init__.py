"""The simulated cluster around the engine: replicas, metrics, faults, clock."""
