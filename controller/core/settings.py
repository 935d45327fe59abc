"""What of the decision can be switched off or put off, and the forecast that knows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

#: The truth, in an ablation: what is said at a Unix time (first) of the demand at another (second),
#: in requests/s of the reference tokens.
Foresight: TypeAlias = Callable[[float, float], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerSettings:
    """What an ablation may switch off, and what an operator may put off.

    ``regression`` False leaves plain persistence with its calibrated spread, and ``calibration``
    False its bare quantiles. ``fallback`` False never uses a fallback. ``hold`` False releases
    replicas as soon as they are not needed, and ``reactive_floor`` False lets the forecast go below
    what the last arrivals need. ``prepare_at_once`` False does not fit on the past before the first
    decision but one piece a decision, beginning within ``spread_seconds``: each object at a time of
    its own, so that the objects of a cluster are not all fitted in the same tick after a start.
    """

    regression: bool = True
    calibration: bool = True
    fallback: bool = True
    hold: bool = True
    reactive_floor: bool = True
    prepare_at_once: bool = True
    spread_seconds: float = 900.0
