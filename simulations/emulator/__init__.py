"""Many model servers played by one process: the simulator's replicas behind real HTTP."""
