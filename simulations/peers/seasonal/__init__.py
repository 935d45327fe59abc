"""Simple forecasts in front of an HPA."""
