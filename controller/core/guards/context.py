"""What every guard may look at: one frozen value, so that guards cannot depend on each other."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from controller.core.domain.decision import Allocation, Reason
from controller.core.domain.observation import Observation
from controller.core.domain.policy import Policy


@dataclass(frozen=True, slots=True)
class PresentLoad:
    """What arrives now (requests/s), and what an allocation, all Ready, carries within the SLO."""

    rate: float
    carries: Callable[[Allocation], float]

    def covered_by(self, allocation: Allocation) -> bool:
        """Whether the allocation meets the SLO at the present load."""
        return self.carries(allocation) >= self.rate


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardContext:
    """The state of the world at a decision.

    ``current`` is the desired allocation now; ``hold_seconds`` the hold of each variant (one cold
    start); ``seen_since_seconds`` the first observation since the start of this process;
    ``recommended`` the recommendations so far, oldest first, as (Unix seconds, allocation).
    ``load`` is None when it is not known.
    """

    policy: Policy
    observation: Observation
    now: float
    current: Allocation
    hold_seconds: tuple[float, ...]
    seen_since_seconds: float
    recommended: tuple[tuple[float, Allocation], ...]
    load: PresentLoad | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a guard makes of an allocation; an unchanged allocation has nothing to report."""

    allocation: Allocation
    reason: Reason


Guard: TypeAlias = Callable[[GuardContext, Allocation], Verdict]


def raised(floor: Allocation, allocation: Allocation) -> Allocation:
    """Return the larger count of every variant."""
    return tuple(max(a, b) for a, b in zip(floor, allocation, strict=True))


def lowered(ceiling: Allocation, allocation: Allocation) -> Allocation:
    """Return the smaller count of every variant."""
    return tuple(min(a, b) for a, b in zip(ceiling, allocation, strict=True))
