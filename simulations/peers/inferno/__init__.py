"""Inferno, the queueing-model SLO solver of llm-d's workload variant autoscaler.

A replica is a queue whose service rate depends on the batch (``queue``); the highest arrival rate
at which its *mean* latencies meet the targets sizes a server on an accelerator (``sizing``); the
cheapest change of accelerator and replicas wins (``solver``). Behaviour of v0.5.1 (four timing
parameters) and of b08b1c7, 2026-02-19 (three); the project has since removed it.
"""
