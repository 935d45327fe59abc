"""Policies by name, steelyard's own and the peers', with the settings asked for.

A policy is written ``name`` or ``name:setting=value,setting=value``, such as
``hpa-queue:target_share=0.7,down_window_seconds=120``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from controller.ports import Planner
from simulations.own import OWN, TARGET, with_target
from simulations.peers.peer import InvalidSetting, NotApplicable, PeerFacts
from simulations.peers.registry import peer, peers
from simulations.setup import Prepared
from simulations.world.world import Setup


class UnknownPolicy(ValueError):  # noqa: N818 - named after what happened, as users read it
    """No policy has this name."""


#: Of steelyard's own entries, those that are compared unless others are named.
COMPARED = ("steelyard", "steelyard-persistence")


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
    return tuple((name, own.description) for name, own in OWN.items()) + theirs


@dataclass(frozen=True, slots=True)
class Entrant:
    """A policy ready to be replayed, and the replay as it asks for it."""

    setup: Setup
    planner: Planner[Any]


def entrant(text: str, prepared: Prepared, seed: int | None = None) -> Entrant:
    """Set a policy up for a scenario and a seed (None: the scenario's).

    Raises:
        UnknownPolicy: there is no policy of this name.
        InvalidSetting: the policy has no such setting, or not with this value.
        NotApplicable: a peer cannot run in this scenario.
    """
    choice = PolicyChoice.parse(text)
    setup = prepared.setup if seed is None else prepared.with_seed(seed)
    if choice.name not in OWN:
        return Entrant(setup, peer(choice.name).planner(facts_of(prepared), choice.settings))
    unknown = set(choice.settings) - {TARGET.name}
    if unknown:
        raise InvalidSetting(
            f"{choice.name} has no setting {min(unknown)!r}; its only one is {TARGET.name}"
        )
    own = OWN[choice.name]
    if TARGET.name in choice.settings:
        setup = with_target(setup, TARGET.check(choice.settings[TARGET.name]))
    setup = own.changed(setup)
    return Entrant(setup, own.planner(setup))


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
    """Names of all policies that can run in a scenario, but for steelyard's ablations."""
    names = []
    for name, _ in policies():
        if name in OWN and name not in COMPARED:
            continue
        try:
            entrant(name, prepared)
        except NotApplicable:
            continue
        names.append(name)
    return names
