"""The load loop's static targets: one engine more or less, by queues and KV use alone.

Prefill engines are judged by queued prompt tokens over the longest context, decode and aggregated
ones by the share of the KV room that is taken or asked for. Any engine above adds one, all below
remove one, unless those left would be above then.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from simulations.peers.dynamo.load import EngineLoad
from simulations.peers.dynamo.regression import PassKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Above ``up`` one more, below ``down`` one less; prefill's ``up`` itself is above.

    ``down`` of 0 is met by 0.
    """

    up: float
    down: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticTarget:
    """Thresholds of an optimization target by what they are compared with.

    ``prefill`` is per token of the longest context, ``kv`` per token of the KV room.
    """

    prefill: Thresholds
    kv: Thresholds


THROUGHPUT = StaticTarget(prefill=Thresholds(up=1.0, down=0.1), kv=Thresholds(up=1.0, down=0.6))
LATENCY = StaticTarget(prefill=Thresholds(up=0.1, down=0.0), kv=Thresholds(up=0.4, down=0.1))


def queue_ratios(loads: Sequence[EngineLoad], context_tokens: float) -> list[float]:
    """Queued prompt tokens of every engine in ``context_tokens``."""
    return [load.queued_prefill_tokens / context_tokens for load in loads]


def kv_ratios(
    loads: Sequence[EngineLoad], kv_capacity_tokens: float, role: PassKind
) -> list[float]:
    """Share of every engine's KV room that is used or queued for; aggregated with prompts."""
    prompts = float(role is PassKind.MIXED)
    return [
        (load.kv_tokens + load.queued_kv_tokens + prompts * load.queued_prefill_tokens)
        / kv_capacity_tokens
        for load in loads
    ]


def engines_wanted(
    ratios: Sequence[float], thresholds: Thresholds, *, role: PassKind
) -> int | None:
    """One more or less than there are, as many to hold, None to say nothing."""
    count, up = len(ratios), thresholds.up
    if not ratios:
        return None
    fullest = max(ratios)
    if fullest > up or (role is PassKind.PREFILL and fullest == up):
        return count + 1
    if count == 1 or not (fullest < thresholds.down or fullest == thresholds.down == 0.0):
        return None
    return count if fullest * count / (count - 1) >= up else count - 1
