"""Predictors, regression and the classic planner beside the answers of Dynamo's own code."""

from simulations.peers.vectors import VectorSet

PREDICTOR_VECTORS: tuple[VectorSet, ...] = ()
