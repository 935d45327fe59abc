"""The predictive HPA: an HPA whose proposals a model extrapolates.

Behaviour of jthomperoo/predictive-horizontal-pod-autoscaler 0.13.2, whose own answers the golden
vectors record: two models of the replicas that the HPA proposed (``linear``, ``holt_winters``), and
the decision among proposal and predictions (``law``).
"""
