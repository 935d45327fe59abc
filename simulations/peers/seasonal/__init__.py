"""Simple forecasts: the strong baselines that any better forecast has to beat.

Our own proposals, no product's (baselines section 8): the season before at its present level in
front of an HPA (``naive``), and the present load with a margin, held for one lead time
(``persistence``).
"""
