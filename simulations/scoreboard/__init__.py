"""Every policy on a suite of scenarios, against the clairvoyant plan."""
