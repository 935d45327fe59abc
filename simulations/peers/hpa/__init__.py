"""The Kubernetes HorizontalPodAutoscaler (autoscaling/v2) as a pure law and as a planner.

Behaviour of v1.37.2, the controller whose own answers the golden vectors record: metrics to a
proposal (``metrics``), stabilization and rate limits (``behavior``), one sync (``law``).
"""
