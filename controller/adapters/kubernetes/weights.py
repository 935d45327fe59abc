"""Integer weights of a route's backends: which are asked for, and when they are worth a write."""

from collections.abc import Sequence
from typing import Final

#: What the weights of an object's variants add up to: a weight reads as a percentage.
WHOLE: Final = 100

#: Weights are left as they are while none is off by so much, and for so long after a change.
HYSTERESIS: Final = 5
DWELL_SECONDS: Final = 60.0


def whole_weights(
    shares: Sequence[float], kept: Sequence[int], ready: Sequence[int]
) -> tuple[int, ...] | None:
    """Weights per variant that add up to ``WHOLE``; None where no variant may have any.

    ``shares`` are parts of the traffic in any scale, ``kept`` the replicas decided on and ``ready``
    those that are Ready. Only what keeps a replica and has one Ready gets a weight. Where all of
    the traffic was meant for others, which are yet to become Ready, it is spread over the Ready
    replicas. Rounded by largest remainder; of equal ones the first variant's is rounded up.
    """
    serving = [stays > 0 and now > 0 for stays, now in zip(kept, ready, strict=True)]
    if not any(serving):
        return None
    parts = [share if on else 0.0 for share, on in zip(shares, serving, strict=True)]
    if sum(parts) <= 0.0:
        parts = [float(now) if on else 0.0 for now, on in zip(ready, serving, strict=True)]
    whole = sum(parts)
    exact = [WHOLE * part / whole for part in parts]
    weights = [int(part) for part in exact]
    by_remainder = sorted(
        (i for i, part in enumerate(parts) if part > 0.0), key=lambda i: (weights[i] - exact[i], i)
    )
    for i in by_remainder[: WHOLE - sum(weights)]:
        weights[i] += 1
    return tuple(weights)


def worth_writing(
    weights: Sequence[int], wanted: Sequence[int], seconds_since_written: float
) -> bool:
    """Whether ``wanted`` is far enough from ``weights``, and they have stood for long enough.

    What is to get none at all, or its first, is not waited with.
    """
    pairs = list(zip(weights, wanted, strict=True))
    if any((old > 0) != (new > 0) for old, new in pairs):
        return True
    off = max(abs(old - new) for old, new in pairs)
    return off >= HYSTERESIS and seconds_since_written >= DWELL_SECONDS
