"""The clairvoyant reference plan and the proved lower bound."""
