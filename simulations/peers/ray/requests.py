"""Ongoing requests out of what handles and replicas report: step functions merged over time."""

from bisect import bisect_right
from collections.abc import Sequence
from enum import StrEnum

#: Samples of one source: (seconds, ongoing requests), ascending; each holds until the next.
Samples = Sequence[tuple[float, float]]


class Merge(StrEnum):
    """How the summed step functions become one number."""

    MEAN = "mean"
    MAX = "max"
    MIN = "min"


def ongoing_requests(sources: Sequence[Samples], merge: Merge, now: float) -> float:
    """Merge all sources from when each has a sample until ``now``; 0 without any sample."""
    reporting = [samples for samples in sources if samples]
    if not reporting:
        return 0.0
    opens = max(samples[0][0] for samples in reporting)
    later = {at for samples in reporting for at, _ in samples if opens < at < now}
    edges = [opens, *sorted(later)]
    totals = [sum(_held(samples, at) for samples in reporting) for at in edges]
    if merge is Merge.MAX:
        return max(totals)
    if merge is Merge.MIN:
        return min(totals)
    lengths = [end - start for start, end in zip(edges, [*edges[1:], now], strict=True)]
    if not sum(lengths) > 0.0:
        return totals[-1]
    area = sum(total * length for total, length in zip(totals, lengths, strict=True))
    return area / sum(lengths)


def _held(samples: Samples, at_seconds: float) -> float:
    """Value of a step function."""
    return samples[bisect_right(samples, at_seconds, key=lambda sample: sample[0]) - 1][1]
