"""Other autoscalers, re-implemented from their published laws, behind the planner protocol."""
