"""The predictive HPA."""
