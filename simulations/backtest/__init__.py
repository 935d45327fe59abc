"""A back-test on one's own history: read from Prometheus, replayed under every policy."""
