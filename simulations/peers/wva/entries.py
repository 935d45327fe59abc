"""The WVA as peers: two engines, all variants or the Primaries alone."""

from collections.abc import Callable
from functools import partial
from typing import Any

from controller.core.domain.policy import RoutingLaw
from controller.core.domain.variant import Role
from controller.ports import Planner
from simulations.peers.hpa.metrics import Tolerance
from simulations.peers.peer import Knob, NotApplicable, Peer, PeerFacts, Settings
from simulations.peers.wva.planner import WINDOW_SECONDS, WvaPlanner, chart_behavior
from simulations.peers.wva.recommenders import Recommender, SaturationV1, SaturationV2
from simulations.peers.wva.release import Release
from simulations.peers.wva.saturation_v1 import Thresholds
from simulations.peers.wva.saturation_v2 import (
    SCALE_DOWN_BOUNDARY,
    SCALE_UP_THRESHOLD,
    Analyzer,
)

_V1 = Thresholds()
_WINDOW = Knob(
    name="stabilization_window_seconds",
    default=float(WINDOW_SECONDS),
    values=(0.0, 60.0, float(WINDOW_SECONDS)),
    most=3600.0,  # the API's own limit
)
_TOLERANCE = Knob(name="hpa_tolerance", default=0.1, values=(0.0, 0.1), most=1.0)
_V1_KNOBS = (
    Knob(
        name="kv_threshold",
        default=_V1.kv_use,
        values=(0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8),
        least=_V1.spare_kv,
        most=1.0,
    ),
    Knob(
        name="queue_threshold",
        default=_V1.waiting,
        values=(4.0, 5.0, 10.0),
        least=_V1.spare_waiting,
    ),
    _WINDOW,
    _TOLERANCE,
)
_V2_KNOBS = (
    Knob(
        name="scale_up_threshold",
        default=SCALE_UP_THRESHOLD,
        values=(0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.85),
        least=0.01,
        most=1.0,
    ),
    Knob(
        name="scale_down_boundary",
        default=SCALE_DOWN_BOUNDARY,
        values=(0.1, 0.3, 0.7),
        least=0.01,
        most=1.0,
    ),
    _WINDOW,
    _TOLERANCE,
)
_PRIMARIES = frozenset({Role.PRIMARY})
_ALL = frozenset(Role)


def _planner(
    facts: PeerFacts, settings: Settings, recommender: Recommender, roles: frozenset[Role]
) -> Planner[Any]:
    policy = facts.policy
    if (
        roles == _ALL
        and policy.indices(Role.FALLBACK)
        and policy.routing.law is RoutingLaw.SEPARATE
    ):
        raise NotApplicable(
            "the WVA takes all variants for replicas of one pool, and with spec.routing.type "
            "Separate none helps the other out; compare wva-v1-primary and wva-v2-primary"
        )
    return WvaPlanner(
        recommender,
        roles=roles,
        behavior=chart_behavior(round(settings[_WINDOW.name])),
        tolerance=Tolerance(up=settings[_TOLERANCE.name], down=settings[_TOLERANCE.name]),
    )


def _v1(facts: PeerFacts, settings: Settings, *, roles: frozenset[Role]) -> Planner[Any]:
    thresholds = Thresholds(kv_use=settings["kv_threshold"], waiting=settings["queue_threshold"])
    return _planner(facts, settings, SaturationV1(thresholds=thresholds), roles)


def _v2(
    facts: PeerFacts, settings: Settings, *, roles: frozenset[Role], costs_of_absent: bool
) -> Planner[Any]:
    up, down = settings["scale_up_threshold"], settings["scale_down_boundary"]
    if down > up:
        # Tuning crosses all values; a user who lowers one alone lowers the other with it.
        down = up * SCALE_DOWN_BOUNDARY / SCALE_UP_THRESHOLD
    analyzer = Analyzer(
        release=Release.NEW,
        scale_up_threshold=up,
        scale_down_boundary=down,
        costs_of_absent=costs_of_absent,
    )
    return _planner(facts, settings, SaturationV2(analyzer=analyzer, mix=facts.mix), roles)


def _entry(
    name: str,
    setup: Callable[[PeerFacts, Settings], Planner[Any]],
    knobs: tuple[Knob, ...],
    law: str,
) -> Peer:
    restricted = name.endswith("-primary")
    return Peer(
        name=name,
        family="wva-primary" if restricted else "wva",
        description=f"llm-d WVA 2976e4e (about v0.9.0), {law}; its chart's HPA, 240 s up and down, "
        "10 pods/150 s, API tolerance 0.1; "
        + (
            "given the Primaries alone, as a user does who keeps the quality"
            if restricted
            else "all variants, fallbacks too, by cost: it knows no quality budget"
        ),
        setup=setup,
        knobs=knobs,
    )


_V1_LAW = "saturation V1 every 15 s: KV 0.8, queue 5, spare 0.1 and 3"
_V2_LAW = "saturation V2 every 15 s, up above 0.85, down below 0.7"

PEERS = (
    _entry(
        "wva-v1",
        partial(_v1, roles=_ALL),
        _V1_KNOBS,
        f"{_V1_LAW}, never a variant that is at 0 replicas",
    ),
    _entry(
        "wva-v2-as-written",
        partial(_v2, roles=_ALL, costs_of_absent=False),
        _V2_KNOBS,
        f"{_V2_LAW}, a variant at 0 replicas taken to cost nothing, as its code has it",
    ),
    _entry(
        "wva-v2-cost-fixed",
        partial(_v2, roles=_ALL, costs_of_absent=True),
        _V2_KNOBS,
        f"{_V2_LAW}, with every variant at its true cost (our correction)",
    ),
    _entry("wva-v1-primary", partial(_v1, roles=_PRIMARIES), _V1_KNOBS, _V1_LAW),
    _entry(
        "wva-v2-primary",
        partial(_v2, roles=_PRIMARIES, costs_of_absent=True),
        _V2_KNOBS,
        f"{_V2_LAW}, with every variant at its true cost (our correction)",
    ),
)
