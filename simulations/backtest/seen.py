"""What the user's own histograms say of the replayed part: the attainment as an interval."""

from dataclasses import dataclass

import numpy as np

from controller.core.domain.policy import Policy
from controller.core.domain.variant import Role
from simulations.backtest.history import History


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One objective as it was met: ``share`` of the answered requests, read at an edge.

    Where ``of_gaps``, the share is of the gaps between tokens, which engines without a histogram
    of requests show instead.
    """

    metric: str
    threshold_seconds: float
    read_at_seconds: float
    share: float
    of_gaps: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of all requests that ended or were refused.

    ``attainment`` is (lower, upper): each objective has its own histogram. None where an objective
    has none.
    """

    requests: float
    refused: float
    failed: float
    degraded_share: float
    objectives: tuple[Objective, ...]
    attainment: tuple[float, float] | None
    ttft_edges_seconds: tuple[float, ...]
    tpot_edges_seconds: tuple[float, ...]


def seen_of(history: History, policy: Policy) -> Seen:
    """Add up the replayed part."""
    counts = history.counts.counted
    ended, failed, refused = (counts[name].sum(axis=1) for name in ("ended", "failed", "refused"))
    finished = np.maximum(ended - failed, 0.0)
    fallback = [v for v, one in enumerate(policy.variants) if one.role is Role.FALLBACK]
    total = float(ended.sum() + refused.sum())
    ttft, ttft_edges = _objective(history, ("ttft",), "TTFT", policy.slo.ttft_seconds)
    tpot, tpot_edges = _objective(history, ("tpot", "gaps"), "TPOT", policy.slo.tpot_seconds)
    lost, unserved = float(failed.sum() + refused.sum()), float(refused.sum())
    attainment = None
    limited = (np.isfinite(policy.slo.ttft_seconds), np.isfinite(policy.slo.tpot_seconds))
    known = (ttft is not None or not limited[0]) and (tpot is not None or not limited[1])
    if total > 0.0 and known:
        served = float(finished.sum())
        late = 0.0 if ttft is None else (1.0 - ttft.share) * served
        slow = 0.0 if tpot is None else (1.0 - tpot.share) * served
        lower = 1.0 - (lost + late + slow) / total
        attainment = (max(lower, 0.0), 1.0 - max(unserved + late, lost + slow) / total)
    return Seen(
        requests=total,
        refused=unserved,
        failed=float(failed.sum()),
        degraded_share=float(finished[fallback].sum()) / total if total > 0.0 else 0.0,
        objectives=tuple(one for one in (ttft, tpot) if one is not None),
        attainment=attainment,
        ttft_edges_seconds=ttft_edges,
        tpot_edges_seconds=tpot_edges,
    )


def _objective(
    history: History, names: tuple[str, ...], metric: str, threshold: float
) -> tuple[Objective | None, tuple[float, ...]]:
    """The objective as the first histogram that exists has it, and that histogram's edges."""
    for name in names:
        engines = [buckets.total(name) for buckets in history.histograms]
        counts = [one for one in engines if one.get(np.inf, 0.0) > 0.0]
        edges = tuple(edge for edge in counts[0] if 0.0 < edge < np.inf) if counts else ()
        if not edges:
            continue
        if not np.isfinite(threshold):
            return None, edges
        # The slack takes up what a threshold loses as a fraction of two integers.
        read_at = [
            max((edge for edge in one if edge <= threshold * (1.0 + 1e-9)), default=0.0)
            for one in counts
        ]
        good = sum(one.get(edge, 0.0) for one, edge in zip(counts, read_at, strict=True))
        return (
            Objective(
                metric=metric,
                threshold_seconds=threshold,
                read_at_seconds=min(read_at),
                share=min(good / sum(one[np.inf] for one in counts), 1.0),
                of_gaps=name == "gaps",
            ),
            edges,
        )
    return None, ()
