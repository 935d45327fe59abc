"""Knative's pod autoscaler (KPA, v0.51): window averages and the stable and panic decision."""
