"""The contract with users: the ModelDeployment resource, its schema and its conversion."""
