"""The operator and model servers as processes, and objects for them to work on."""
