"""Dynamo's planner."""
