"""Readers of trace files: the packed form, what others publish, and any CSV by column names."""
