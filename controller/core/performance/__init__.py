"""How much load a fleet carries within its SLO."""
