"""What was seen of one ModelDeployment: values with their time, or the reason they are missing.

Missing is a value of its own and never zero: a reading is either ``Measured`` or ``Missing``.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


class MissingReason(StrEnum):
    """Why a reading has no value."""

    ABSENT = "Absent"
    STALE = "Stale"
    NOT_A_NUMBER = "NotANumber"
    PARTIAL = "Partial"
    QUERY_FAILED = "QueryFailed"


@dataclass(frozen=True, slots=True)
class Missing:
    """A reading that has no value, and why."""

    reason: MissingReason


@dataclass(frozen=True, slots=True)
class Measured:
    """A gauge's value as of ``at_seconds`` (Unix time)."""

    value: float
    at_seconds: float


#: Upper bucket edges of token-length histograms, the 1-2-5 series that engines export; one more
#: bucket takes what is longer.
TOKEN_EDGES = (
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0,
    1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What arrived, at the router, between two samples of the counters.

    Refused requests are included in ``requests``; both ends are Unix seconds. Token sums are those
    of requests that reached an engine, ``token_requests`` of them. The histograms count their
    lengths per bucket of ``TOKEN_EDGES``; empty where the engine exports none.
    """

    from_seconds: float
    to_seconds: float
    requests: float
    refused: float
    token_requests: float
    prompt_tokens: float
    output_tokens: float
    prompt_histogram: tuple[float, ...] = ()
    output_histogram: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Requests that ended between two samples, and the bad ones by objective.

    Each bad count is read off one histogram at the bucket edge at or below the objective's
    threshold; refused, aborted and failed requests are in ``failed`` and in no histogram.
    ``degraded`` counts those served by a fallback.
    """

    from_seconds: float
    to_seconds: float
    ended: float
    failed: float
    bad_ttft: float
    bad_tpot: float
    degraded: float


GaugeReading: TypeAlias = Measured | Missing
TrafficReading: TypeAlias = Traffic | Missing
OutcomesReading: TypeAlias = Outcomes | Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantObservation:
    """One variant's replicas and load.

    ``desired`` is the target's spec.replicas. ``starting_since_seconds`` holds the creation time
    of every replica that exists and is not Ready, in no particular order; ``unschedulable`` of
    them wait for a GPU. ``ready_after_seconds`` are create-to-Ready times completed since the last
    observation. Gauges are sums over the variant's replicas; KV use is the mean share.
    """

    desired: int
    ready: int
    starting_since_seconds: tuple[float, ...] = ()
    unschedulable: int = 0
    draining: int = 0
    ready_after_seconds: tuple[float, ...] = ()
    running: GaugeReading = Missing(MissingReason.ABSENT)
    waiting: GaugeReading = Missing(MissingReason.ABSENT)
    kv_use: GaugeReading = Missing(MissingReason.ABSENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What was seen of one ModelDeployment, its variants in the policy's order.

    ``workloads_at_seconds`` is when the replica counts were read.
    """

    workloads_at_seconds: float
    variants: tuple[VariantObservation, ...]
    traffic: TrafficReading
    outcomes: OutcomesReading


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PastTraffic:
    """Traffic before the first observation, in steps of equal length: what seeds a history.

    Arrays have shape (steps,); step i covers ``[from_seconds + i step, + step)``. A step that was
    not seen is NaN in ``requests``; token means of a step without known tokens are NaN.
    """

    from_seconds: float
    step_seconds: float
    requests: NDArray[np.float64]
    prompt_tokens_mean: NDArray[np.float64]
    output_tokens_mean: NDArray[np.float64]
