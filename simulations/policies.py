"""Policies by name, steelyard's own and the peers', with the settings asked for.

A policy is written ``name`` or ``name:setting=value,setting=value``, such as
``hpa-queue:target_share=0.7,down_window_seconds=120``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from controller.core.planner import PlannerSettings, SteelyardPlanner
from controller.ports import Planner
from simulations.peers.peer import InvalidSetting, NotApplicable, PeerFacts
from simulations.peers.registry import peer, peers
from simulations.setup import Prepared


class UnknownPolicy(ValueError):  # noqa: N818 - named after what happened, as users read it
    """No policy has this name."""


@dataclass(frozen=True, slots=True)
class _Own:
    """One of steelyard's own entries."""

    description: str
    settings: PlannerSettings


_OWN = {
    "steelyard": _Own("The decision core as the operator runs it", PlannerSettings()),
    "steelyard-persistence": _Own(
        "steelyard with plain persistence in place of the forecaster",
        PlannerSettings(regression=False),
    ),
}


@dataclass(frozen=True, slots=True)
class PolicyChoice:
    """A policy and what is asked of its settings; the others stand at their defaults."""

    name: str
    settings: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def parse(cls, text: str) -> "PolicyChoice":
        """Read ``name:setting=value,...``; raises ``UnknownPolicy`` or ``InvalidSetting``."""
        name, _, tail = text.partition(":")
        known = [known for known, _ in policies()]
        if name not in known:
            raise UnknownPolicy(f"policy {name!r} is not known; choose from {known}")
        settings = {}
        for part in filter(None, tail.split(",")):
            setting, equals, value = part.partition("=")
            try:
                settings[setting.strip()] = float(value)
            except ValueError:
                equals = ""
            if not equals:
                raise InvalidSetting(
                    f"policy {text!r}: found {part!r}; write {name}:setting=number,setting=number"
                )
        return cls(name, settings)

    @property
    def text(self) -> str:
        """As it is written, settings in the order of their names."""
        asked = ",".join(f"{name}={value:g}" for name, value in sorted(self.settings.items()))
        return f"{self.name}:{asked}" if asked else self.name


def policies() -> tuple[tuple[str, str], ...]:
    """All policies that can be compared, with a line on each."""
    theirs = tuple((known.name, known.description) for known in peers())
    return tuple((name, own.description) for name, own in _OWN.items()) + theirs


def planner_of(text: str, prepared: Prepared) -> Planner[Any]:
    """Set a policy up for a scenario.

    Raises:
        UnknownPolicy: there is no policy of this name.
        InvalidSetting: the policy has no such setting, or not with this value.
        NotApplicable: a peer cannot run in this scenario.
    """
    choice = PolicyChoice.parse(text)
    if choice.name in _OWN:
        if choice.settings:
            raise InvalidSetting(
                f"{choice.name} has no settings; it is told by the ModelDeployment"
            )
        return SteelyardPlanner(_OWN[choice.name].settings)
    return peer(choice.name).planner(facts_of(prepared), choice.settings)


def facts_of(prepared: Prepared) -> PeerFacts:
    """What a careful user of a peer knows of a scenario."""
    return PeerFacts(
        policy=prepared.setup.policy,
        knees=prepared.knees,
        peak_replicas=prepared.peak_replicas,
        p95_replicas=prepared.p95_replicas,
        capacity=prepared.capacity,
        mix=prepared.mix,
    )


def applicable(prepared: Prepared) -> list[str]:
    """Names of all policies that can run in a scenario."""
    names = []
    for name, _ in policies():
        try:
            planner_of(name, prepared)
        except NotApplicable:
            continue
        names.append(name)
    return names
