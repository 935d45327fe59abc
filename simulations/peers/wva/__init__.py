"""llm-d's workload variant autoscaler."""
