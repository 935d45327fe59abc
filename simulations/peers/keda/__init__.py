"""KEDA (v2.21.0): an HPA without a behavior block, fallback values and the loop between 0 and 1."""
