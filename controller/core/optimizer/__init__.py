"""The allocation that costs least at the budgets' prices."""
