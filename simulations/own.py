"""Steelyard's own entries: as the operator runs it, and with one part taken away at a time."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from controller.core.domain.policy import Balancing
from controller.core.planner import SteelyardPlanner
from controller.core.settings import PlannerSettings
from simulations.engine.fleet import Router
from simulations.foresight import foresight
from simulations.peers.peer import Knob
from simulations.world.world import Setup

#: The SLO target that the ModelDeployment asks for, in place of the scenario's.
TARGET = Knob(name="target", default=0.99, values=(0.95, 0.97, 0.99, 0.995), least=0.5, most=0.9999)

#: A cold start that is none, in seconds.
_NO_COLD_START_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """One of steelyard's own entries. ``changed`` is the replay that it asks for.

    ``told`` is what of the true demand it knows. ``cause`` names what an ablation takes away, and
    with it a cause of regret.
    """

    description: str
    settings: PlannerSettings = PlannerSettings()  # noqa: RUF009 - frozen, without state
    changed: Callable[[Setup], Setup] = lambda setup: setup
    told: Literal["ahead", "at the moment"] | None = None
    cause: str | None = None

    def planner(self, setup: Setup) -> SteelyardPlanner:
        """The planner for a replay."""
        known = None if self.told is None else foresight(setup, ahead=self.told == "ahead")
        return SteelyardPlanner(self.settings, known)


def with_target(setup: Setup, target: float) -> Setup:
    """The replay with another SLO target in the ModelDeployment."""
    policy = setup.policy
    return replace(setup, policy=replace(policy, slo=replace(policy.slo, target=target)))


def _without_cold_start(setup: Setup) -> Setup:
    at_once = tuple(
        replace(cold, median_seconds=_NO_COLD_START_SECONDS, node_seconds=0.0)
        for cold in setup.conditions.cold_starts
    )
    variants = tuple(
        replace(variant, cold_start_seconds=_NO_COLD_START_SECONDS)
        for variant in setup.policy.variants
    )
    return replace(
        setup,
        policy=replace(setup.policy, variants=variants),
        conditions=replace(setup.conditions, cold_starts=at_once),
    )


def _without_queue_limit(setup: Setup) -> Setup:
    variants = tuple(replace(variant, queue_limit=None) for variant in setup.policy.variants)
    return replace(
        setup,
        policy=replace(setup.policy, variants=variants),
        pools=tuple(replace(pool, queue_limit=None) for pool in setup.pools),
    )


def _routed_at_random(setup: Setup) -> Setup:
    routing = replace(setup.policy.routing, balancing=Balancing.PER_ENDPOINT)
    return replace(
        setup,
        policy=replace(setup.policy, routing=routing),
        engine=replace(setup.engine, router=Router.RANDOM),
    )


OWN = {
    "steelyard": Own(description="The decision core as the operator runs it"),
    "steelyard-persistence": Own(
        description="steelyard with plain persistence in place of the forecaster",
        settings=PlannerSettings(regression=False),
        cause="forecaster",
    ),
    "steelyard-perfect-forecast": Own(
        description="steelyard told the demand one lead ahead as it will be",
        told="ahead",
        cause="forecast error",
    ),
    "steelyard-told": Own(
        description="steelyard told the demand as it is at the moment: a causal oracle",
        told="at the moment",
    ),
    "steelyard-no-cold-start": Own(
        description="steelyard where a replica is Ready one second after it is asked for",
        changed=_without_cold_start,
        cause="cold start",
    ),
    "steelyard-no-calibration": Own(
        description="steelyard with the forecast's bare quantiles",
        settings=PlannerSettings(calibration=False),
        cause="calibration",
    ),
    "steelyard-no-fallback": Own(
        description="steelyard that never uses a fallback",
        settings=PlannerSettings(fallback=False),
        cause="fallback",
    ),
    "steelyard-no-hold": Own(
        description="steelyard that releases replicas as soon as they are not needed",
        settings=PlannerSettings(hold=False),
        cause="hold",
    ),
    "steelyard-no-floor": Own(
        description="steelyard without the reactive floor",
        settings=PlannerSettings(reactive_floor=False),
        cause="reactive floor",
    ),
    "steelyard-no-queue-limit": Own(
        description="steelyard where replicas never refuse",
        changed=_without_queue_limit,
        cause="queue limit",
    ),
    "steelyard-random-routing": Own(
        description="steelyard behind an ordinary Service, which does not look at load",
        changed=_routed_at_random,
        cause="routing",
    ),
}
