"""The cost-aware optimizer: replicas by cost per capacity up, by cost down.

``Candidate.cost`` is what the optimizer sees. As written, that is 0 for a variant at 0 replicas,
which then sorts first; see ``saturation_v2`` for the cost that is put in.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from simulations.peers.wva.release import Release


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A variant to scale: ``capacity`` in tokens per replica (0: unusable), and its cost.

    ``max_replicas`` None or 0 is none. The old release knows neither bound.
    """

    name: str
    replicas: int
    capacity: float
    cost: float
    min_replicas: int = 0
    max_replicas: int | None = None

    @property
    def headroom(self) -> float:
        """Replicas that may be added."""
        return max(self.max_replicas - self.replicas, 0) if self.max_replicas else math.inf

    @property
    def value(self) -> float:
        """Cost per token of capacity; infinite when unusable."""
        return self.cost / self.capacity if self.capacity > 0.0 else math.inf


def optimized(
    release: Release, candidates: Sequence[Candidate], required: float, spare: float
) -> dict[str, int]:
    """Replicas of every variant for ``required`` or ``spare`` capacity, in tokens."""
    targets = {candidate.name: candidate.replicas for candidate in candidates}
    if required > 0.0:
        _grow(release, candidates, required, targets)
    elif spare > 0.0:
        _shrink(release, candidates, spare, targets)
    return targets


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleNeed:
    """The one variant of a role (prefill or decode), and what the role needs or can spare."""

    candidate: Candidate
    required: float
    spare: float


def optimized_roles(needs: Sequence[RoleNeed]) -> dict[str, int]:
    """Scale roles that are useless without each other (new release).

    When one has no room for all it needs, every role gets the same fraction, rounded down but for
    the first replica: the rounding is read off recorded answers. Down, each goes by itself.
    """
    short = [need for need in needs if need.required > 0.0 and need.candidate.capacity > 0.0]
    if not short:
        return {
            name: target
            for need in needs
            for name, target in optimized(Release.NEW, [need.candidate], 0.0, need.spare).items()
        }
    wanted = {
        need.candidate.name: math.ceil(need.required / need.candidate.capacity) for need in short
    }
    fraction = min(
        min(1.0, need.candidate.headroom / wanted[need.candidate.name]) for need in short
    )
    targets = {need.candidate.name: need.candidate.replicas for need in needs}
    for name, replicas in wanted.items():
        targets[name] += max(1, math.floor(fraction * replicas)) if fraction > 0.0 else 0
    return targets


def _grow(
    release: Release, candidates: Sequence[Candidate], required: float, targets: dict[str, int]
) -> None:
    """Take the best value first; the new release spills over when there is no more headroom."""
    for candidate in sorted(candidates, key=lambda candidate: candidate.value):
        if candidate.capacity <= 0.0 or required <= 0.0:
            return
        added = math.ceil(required / candidate.capacity)
        if release is Release.NEW:
            added = int(min(added, candidate.headroom))
        targets[candidate.name] += added
        if release is Release.OLD:
            return
        required -= added * candidate.capacity


def _shrink(
    release: Release, candidates: Sequence[Candidate], spare: float, targets: dict[str, int]
) -> None:
    """Give back the dearest first; the variant named last keeps 1 when no other has any."""
    if release is Release.NEW:
        order = sorted(
            candidates, key=lambda candidate: (-candidate.cost, candidate.capacity, candidate.name)
        )
        protected = order[-1]
    else:
        order = sorted(candidates, key=lambda candidate: -candidate.cost)
        protected = min(candidates, key=lambda candidate: candidate.cost)
    for candidate in order:
        if candidate.capacity <= 0.0:
            continue
        floor = candidate.min_replicas if release is Release.NEW else 0
        others = (target for name, target in targets.items() if name != candidate.name)
        if candidate is protected and not any(others):
            floor = max(floor, 1)
        removed = min(math.floor(spare / candidate.capacity), candidate.replicas - floor)
        if removed > 0:
            targets[candidate.name] -= removed
            spare -= removed * candidate.capacity
