"""The inferno queueing solver as peers."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from controller.core.domain.policy import RoutingLaw
from controller.core.domain.variant import PerformanceProfile, Role
from controller.core.performance.mix import TokenMix
from controller.ports import Planner
from simulations.peers.inferno.benchmark import four_parameters, held_batch, three_parameters
from simulations.peers.inferno.executor import WINDOW_SECONDS, executor
from simulations.peers.inferno.planner import InfernoPlanner
from simulations.peers.inferno.queue import FourParameters, ThreeParameters
from simulations.peers.inferno.sizing import Targets
from simulations.peers.inferno.solver import Accelerator, Server
from simulations.peers.peer import Knob, NotApplicable, Peer, PeerFacts, Settings

#: Share of the SLO thresholds that the *means* are held to. The solver promises nothing about
#: percentiles, so users who want those lower it.
SLO_SHARE = Knob(
    name="slo_share",
    default=1.0,
    values=(0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0),
    least=0.05,
    most=2.0,
)
WINDOW = Knob(
    name="stabilization_window_seconds",
    default=float(WINDOW_SECONDS),
    values=(0.0, 60.0, 120.0, 240.0),
    most=3600.0,  # the API's own limit
)
_ROUTED_TOGETHER = (
    "{name} moves the model between its variants, which spec.routing.type Separate gives clients "
    "of their own; use inferno-slo-primary"
)

_Fit: TypeAlias = Callable[[PerformanceProfile, TokenMix], ThreeParameters | FourParameters]


def _setup(name: str, fit: _Fit, roles: frozenset[Role]) -> Callable[..., Planner[Any]]:
    def setup(facts: PeerFacts, settings: Settings) -> Planner[Any]:
        policy = facts.policy
        offered = [variant for variant in policy.variants if variant.role in roles]
        if policy.routing.law is RoutingLaw.SEPARATE and len(offered) > 1:
            raise NotApplicable(_ROUTED_TOGETHER.format(name=name))
        share = settings["slo_share"]
        accelerators = tuple(
            Accelerator(
                name=variant.name,
                cost=variant.cost_per_replica_hour,
                timing=fit(tested.profile, facts.mix),
                max_batch=held_batch(tested.profile, facts.mix),
            )
            if variant in offered
            else None
            for variant, tested in zip(policy.variants, facts.capacity.variants, strict=True)
        )
        server = Server(
            targets=Targets(
                ttft=_target_milliseconds(policy.slo.ttft_seconds, share),
                itl=_target_milliseconds(policy.slo.tpot_seconds, share),
            ),
            min_replicas=int(any(variant.min_replicas for variant in offered)),
        )
        window_seconds = round(settings["stabilization_window_seconds"])
        tokens = (round(facts.mix.prompt_mean), round(facts.mix.output_mean))
        return InfernoPlanner(accelerators, server, executor(window_seconds), tokens)

    return setup


def _target_milliseconds(threshold_seconds: float, share: float) -> float:
    """A threshold that always holds is no target, which the solver writes as 0."""
    return 0.0 if math.isinf(threshold_seconds) else 1000.0 * share * threshold_seconds


def _peer(name: str, fit: _Fit, roles: frozenset[Role], description: str) -> Peer:
    return Peer(
        name=name,
        family="inferno",
        description=description,
        setup=_setup(name, fit, roles),
        knobs=(SLO_SHARE, WINDOW),
    )


PEERS = (
    _peer(
        "inferno-slo",
        three_parameters,
        frozenset(Role),
        "WVA's queueing solver (b08b1c7, three parameters) every 60 s: means at the SLO "
        "thresholds, the variant of least value, HPA with 240 s both ways and 10 pods/150 s",
    ),
    _peer(
        "inferno-slo-primary",
        three_parameters,
        frozenset({Role.PRIMARY}),
        "inferno-slo that is given the Primary only",
    ),
    _peer(
        "inferno4-slo",
        four_parameters,
        frozenset(Role),
        "inferno-slo with the queue of v0.5.1 (four parameters)",
    ),
)
