"""Saturation V1: one replica more or less at a time, by the spare room of unsaturated replicas."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simulations.peers.wva.release import Release


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """When a replica counts as saturated, and how much room the others must have on average.

    KV shares are in [0, 1], queues in requests.
    """

    kv_use: float = 0.80
    waiting: float = 5.0
    spare_kv: float = 0.10
    spare_waiting: float = 3.0


@dataclass(frozen=True, slots=True)
class ReplicaLoad:
    """What one replica shows: KV use in [0, 1] and waiting requests; its variant's cost."""

    variant: str
    kv_use: float
    waiting: float
    cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantState:
    """A variant's replicas: ``desired`` was recommended last (0: never), ``pending`` not Ready.

    A maximum of None or 0 is none. The old release knows neither bound.
    """

    name: str
    current: int
    pending: int
    desired: int
    min_replicas: int | None = None
    max_replicas: int | None = None

    @property
    def in_transition(self) -> bool:
        """Whether the last recommendation is not carried out yet."""
        return self.desired not in {0, self.current}

    @property
    def held(self) -> int:
        """The recommendation while the model is held."""
        return self.desired if self.in_transition else self.current

    def bounded(self, replicas: int) -> int:
        """Return the replicas within the variant's bounds."""
        least = max(replicas, self.min_replicas or 0)
        return min(least, self.max_replicas) if self.max_replicas else least


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturation:
    """Spare room, averaged over the replicas that are not saturated, and what follows from it."""

    spare_kv: float
    spare_waiting: float
    unsaturated: int
    scale_up: bool
    scale_down_safe: bool


def saturation(replicas: Sequence[ReplicaLoad], limits: Thresholds) -> Saturation:
    """Judge all replicas of a model together, whichever variant they are of.

    Saturated replicas count in no average: one idle replica beside many full ones shows room.
    """
    free = [
        replica
        for replica in replicas
        if replica.kv_use < limits.kv_use and replica.waiting < limits.waiting
    ]
    count = len(free)
    kv = sum(limits.kv_use - replica.kv_use for replica in free) / max(count, 1)
    waiting = sum(limits.waiting - replica.waiting for replica in free) / max(count, 1)
    # Without one of them, the others take its load in equal parts.
    grown = count / (count - 1) if count > 1 else 0.0
    return Saturation(
        spare_kv=kv,
        spare_waiting=waiting,
        unsaturated=count,
        scale_up=kv < limits.spare_kv or waiting < limits.spare_waiting,
        scale_down_safe=count > 1
        and limits.kv_use - (limits.kv_use - kv) * grown >= limits.spare_kv
        and limits.waiting - (limits.waiting - waiting) * grown >= limits.spare_waiting,
    )


def recommended(
    release: Release,
    states: Sequence[VariantState],
    replicas: Sequence[ReplicaLoad],
    limits: Thresholds,
) -> dict[str, int]:
    """Recommend replicas for every variant that reports; one that does not keeps its own."""
    reporting = Counter(replica.variant for replica in replicas)
    costs = {replica.variant: replica.cost for replica in replicas}
    known = {state.name: state for state in states if state.name in reporting}
    if any(_unsettled(release, state, reporting[name]) for name, state in known.items()):
        return {name: state.held for name, state in known.items()}
    new = release is Release.NEW
    targets = {
        name: state.current if new else reporting[name] for name, state in sorted(known.items())
    }
    verdict = saturation(replicas, limits)
    if verdict.scale_up:
        _grow(targets, known, costs)
    elif verdict.scale_down_safe:
        _shrink(targets, costs)
    if new:
        return {name: known[name].bounded(target) for name, target in targets.items()}
    return targets


def _unsettled(release: Release, state: VariantState, reporting: int) -> bool:
    """Whether the model is still on its way to the last recommendation: the transition guard."""
    if release is Release.NEW:
        return state.pending > 0 or state.in_transition
    return state.in_transition or reporting != state.current


def _grow(
    targets: dict[str, int], known: Mapping[str, VariantState], costs: Mapping[str, float]
) -> None:
    """One more of the cheapest variant that has nothing pending."""
    settled = [name for name in targets if known[name].pending == 0]
    if settled:
        targets[min(settled, key=lambda name: (costs[name], name))] += 1


def _shrink(targets: dict[str, int], costs: Mapping[str, float]) -> None:
    """One less of the dearest variant that has more than one."""
    several = [name for name, target in targets.items() if target > 1]
    if several:
        targets[max(several, key=lambda name: (costs[name], name))] -= 1
