"""Traffic: readers of published formats, scaling, slicing and a generator."""
