"""Crane's DSP: a periodic forecast in front of an HPA.

Behaviour of commit 2b0ddae (2024-12-19), the functions whose own answers the golden vectors record:
samples to a clean series (``preprocessing``), its period (``periodicity``), one more period of it
(``estimators``), the choice among estimators (``law``).
"""
