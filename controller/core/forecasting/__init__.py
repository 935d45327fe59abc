"""The load one cold start ahead, as calibrated quantiles."""
