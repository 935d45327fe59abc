"""A peer: a policy of others, how it is set up for a scenario, and the settings its users tune."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from controller.core.domain.policy import Policy
from controller.core.performance.capacity import FleetCapacity
from controller.core.performance.mix import TokenMix
from controller.ports import Planner


class NotApplicable(ValueError):  # noqa: N818 - named after what happened, as users read it
    """This peer cannot be set up on this scenario; the message names the field and the fix."""


class InvalidSetting(ValueError):  # noqa: N818 - named after what happened, as users read it
    """A setting that a peer does not have, or a value that it cannot take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerFacts:
    """What a careful user knows of a scenario when setting a peer up.

    ``policy`` carries the queue limits in force. ``knees`` are the outstanding requests per
    replica at capacity at the SLO, per variant in the policy's order (after a load test), and
    ``capacity`` is what such a test shows of whole fleets at the token mix ``mix``.
    ``peak_replicas`` are the Primary replicas that serve the trace's peak minute, and
    ``p95_replicas`` those that serve all but the busiest 5 % of its minutes.
    """

    policy: Policy
    knees: tuple[float, ...]
    peak_replicas: int
    p95_replicas: int
    capacity: FleetCapacity
    mix: TokenMix


#: Values of a peer's knobs by name; complete when handed to ``Peer.setup``.
Settings: TypeAlias = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """A setting that users of a peer tune.

    ``name`` carries the unit; ``default`` is the documented one; ``values`` are what tuning tries.
    Any value from ``least`` to ``most`` may be asked for.
    """

    name: str
    default: float
    values: tuple[float, ...]
    least: float = 0.0
    most: float = math.inf

    def __post_init__(self) -> None:
        """Reject values that could not be asked for."""
        for value in (self.default, *self.values):
            self.check(value)

    def check(self, value: float) -> float:
        """Return the value; raises ``InvalidSetting`` when it is out of range."""
        if not self.least <= value <= self.most:
            raise InvalidSetting(
                f"{self.name}: found {value:g}; write a number from {self.least:g} to {self.most:g}"
            )
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A peer policy. ``setup`` raises ``NotApplicable`` where the scenario does not fit it.

    Peers of one ``family`` are the same product with another metric or mode: its users choose
    among them, so tuning does too.
    """

    name: str
    family: str
    description: str
    setup: Callable[[PeerFacts, Settings], Planner[Any]]
    knobs: tuple[Knob, ...] = ()

    def planner(self, facts: PeerFacts, asked: Settings | None = None) -> Planner[Any]:
        """Set the peer up, at its defaults but for what is ``asked``.

        Raises:
            InvalidSetting: the peer has no such knob, or the value is out of its range.
            NotApplicable: the peer cannot run in this scenario.
        """
        asked = asked or {}
        known = {knob.name: knob for knob in self.knobs}
        for name in asked:
            if name not in known:
                choice = ", ".join(known) or "none: this peer has no settings"
                raise InvalidSetting(f"{self.name} has no setting {name!r}; choose from {choice}")
        settings = {
            name: knob.check(float(asked.get(name, knob.default))) for name, knob in known.items()
        }
        return self.setup(facts, settings)
