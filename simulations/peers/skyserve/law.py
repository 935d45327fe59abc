"""SkyServe's autoscalers: requests/s over a target, hysteresis counted in decisions.

A delay of 300 s is 15 decisions in a row that want the same direction; a contrary one or one that
wants what is there starts the count again. At zero replicas the controller decides four times as
often and goes up at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from simulations.peers.skyserve.fleet import CAPACITY, Replica, Status

#: Seconds between decisions, and while the target is zero.
DECISION_SECONDS = 20.0
DECISION_SECONDS_AT_ZERO = 5.0
#: Length of the window over which the load balancer's requests are counted.
WINDOW_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SkySpec:
    """A service's replica_policy; defaults are SkyServe's.

    ``overprovision`` replicas are kept beyond the target. ``base_ondemand`` replicas are on-demand
    at any time; with ``dynamic_ondemand`` on-demand ones also stand in for spot that is not Ready.
    """

    min_replicas: int
    max_replicas: int
    upscale_delay_seconds: float = 300.0
    downscale_delay_seconds: float = 1200.0
    overprovision: int = 0
    base_ondemand: int = 0
    dynamic_ondemand: bool = False

    def clipped(self, replicas: int) -> int:
        """Cut to the replica range."""
        return max(self.min_replicas, min(self.max_replicas, replicas))


@dataclass(frozen=True, slots=True, kw_only=True)
class SkyHistory:
    """The target of replicas, and how many decisions in a row wanted more, or fewer."""

    target: int
    up_count: int = 0
    down_count: int = 0

    @property
    def next_decision_seconds(self) -> float:
        """How long the controller sleeps."""
        return DECISION_SECONDS if self.target else DECISION_SECONDS_AT_ZERO


def wanted_by_rate(spec: SkySpec, qps: float, target_qps: float) -> int:
    """Replicas for ``qps`` requests/s at ``target_qps`` each."""
    return spec.clipped(math.ceil(qps / target_qps))


def wanted_by_instances(
    spec: SkySpec, qps: float, replicas: Sequence[Replica], best_target_qps: float
) -> int:
    """Replicas for ``qps`` where each has its own target; the best type's is given.

    Above what the fleet carries, the missing replicas are added to *all* records, those of
    terminated replicas included; below, the fewest of the best Ready ones that carry more than
    ``qps`` are kept. Without any capacity the minimum is wanted, whatever the load. All three are
    the peer's own.
    """
    carried = sum(replica.target_qps for replica in replicas if replica.status in CAPACITY)
    if carried == 0.0:
        return spec.clipped(spec.min_replicas)
    if qps >= carried:
        return spec.clipped(len(replicas) + math.ceil((qps - carried) / best_target_qps))
    ready = [replica.target_qps for replica in replicas if replica.status is Status.READY]
    kept = 0
    total = 0.0
    for target_qps in sorted(ready or [best_target_qps], reverse=True):
        kept += 1
        total += target_qps
        if total > qps:
            break
    return spec.clipped(0 if qps == 0.0 else kept)


def decide(spec: SkySpec, history: SkyHistory, wanted: int) -> SkyHistory:
    """One decision: the target moves once its direction was wanted often enough in a row."""
    if history.target == 0:
        # Nothing to be careful about, and the counts stay as they are.
        return SkyHistory(target=wanted, up_count=history.up_count, down_count=history.down_count)
    if wanted > history.target:
        up_count = history.up_count + 1
        if up_count >= _decisions(spec.upscale_delay_seconds):
            return SkyHistory(target=wanted)
        return SkyHistory(target=history.target, up_count=up_count)
    if wanted < history.target:
        down_count = history.down_count + 1
        if down_count >= _decisions(spec.downscale_delay_seconds):
            return SkyHistory(target=wanted)
        return SkyHistory(target=history.target, down_count=down_count)
    return SkyHistory(target=history.target)


def _decisions(delay_seconds: float) -> int:
    """Decisions in a delay: cut off, so that 30 s are one decision and 19 s none."""
    return int(delay_seconds / DECISION_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Targets of both kinds of replicas."""

    spot: int
    ondemand: int


def mixed(spec: SkySpec, target: int, ready_spot: int) -> Mix:
    """Split a target: on-demand replicas fill the gap until spot ones are Ready.

    Spot replicas that only start leave the gap open; on-demand ones go when spot is Ready.
    """
    spot = target + spec.overprovision - spec.base_ondemand
    gap = max(0, spot - ready_spot) if spec.dynamic_ondemand else 0
    return Mix(spot=spot, ondemand=min(target, spec.base_ondemand + gap))
