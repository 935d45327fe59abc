"""Simple forecasts in front of an HPA as peers."""

from typing import Any

from controller.ports import Planner
from simulations.peers.forecast_hpa import ForecastHpa, primary
from simulations.peers.hpa.behavior import default_behavior
from simulations.peers.hpa.entries import DOWN_WINDOW, TARGET_SHARE
from simulations.peers.hpa.planner import ExternalAverage, Signal
from simulations.peers.hpa.setups import outstanding_target
from simulations.peers.peer import Knob, Peer, PeerFacts, Settings
from simulations.peers.seasonal.demand import Demand
from simulations.peers.seasonal.naive import DAY_SECONDS
from simulations.peers.seasonal.naive_planner import NaivePlanner
from simulations.peers.seasonal.persistence import PersistencePlanner

_SEASON_DAYS = Knob(name="season_days", default=1.0, values=(1.0, 7.0), least=1.0, most=28.0)
_MARGIN = Knob(name="margin", default=1.1, values=(1.0, 1.05, 1.1, 1.2, 1.3), least=0.1, most=10.0)


def _naive(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    policy, share = facts.policy, settings["target_share"]
    first = primary(policy)
    target = outstanding_target(policy.variants[first], facts.knees[first], share)
    hpa = ForecastHpa(
        metric=ExternalAverage(signal=Signal.OUTSTANDING, target=target),
        behavior=default_behavior(round(settings["down_window_seconds"])),
    )
    season = round(settings["season_days"]) * DAY_SECONDS
    return NaivePlanner(
        hpa,
        Demand.of(policy, facts.capacity),
        share,
        tuple(dict.fromkeys((season, DAY_SECONDS))),
    )


def _persistence(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    return PersistencePlanner(Demand.of(facts.policy, facts.capacity), settings["margin"])


PEERS = (
    Peer(
        name="hpa-seasonal-naive",
        family="seasonal-naive",
        description="hpa-queue (HPA v2, 1.37.2) or the coming cold start as it was yesterday, at "
        "the level of the last 30 min, the greater; target 0.8 of the knee and of capacity",
        setup=_naive,
        knobs=(TARGET_SHARE, DOWN_WINDOW, _SEASON_DAYS),
    ),
    Peer(
        name="persistence-hold",
        family="persistence",
        description="Replicas that carry 1.1 times the requests/s of the last 60 s, released after "
        "one cold start; our own baseline, no product's",
        setup=_persistence,
        knobs=(_MARGIN,),
    ),
)
