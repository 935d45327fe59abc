"""llm-d's workload variant autoscaler (WVA): b08b1c7 (2026-02-19) and 2976e4e (about v0.9.0).

It watches how full the engines are, recommends replicas for every variant of a model by its cost,
and leaves it to an HPA on that recommendation to carry it out.
"""
