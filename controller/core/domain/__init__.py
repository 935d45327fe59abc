"""The words of the decision, as frozen values."""
