"""Crane's DSP as peers."""

from typing import Any

from controller.ports import Planner
from simulations.peers.crane.planner import CranePlanner
from simulations.peers.forecast_hpa import ForecastHpa, primary
from simulations.peers.hpa.behavior import default_behavior
from simulations.peers.hpa.entries import DOWN_WINDOW, TARGET_SHARE
from simulations.peers.hpa.planner import ExternalAverage, Signal
from simulations.peers.load_test import carried_per_replica
from simulations.peers.peer import Peer, PeerFacts, Settings


def _dsp(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    carried = carried_per_replica(facts, primary(facts.policy))
    target = settings["target_share"] * carried
    return CranePlanner(
        ForecastHpa(
            metric=ExternalAverage(signal=Signal.ARRIVALS, target=target),
            behavior=default_behavior(round(settings["down_window_seconds"])),
        )
    )


PEERS = (
    Peer(
        name="crane-dsp",
        family="crane",
        description="Crane (2b0ddae) DSP: HPA on requests/s now and the highest forecast for the "
        "next hour, target 0.8 of what a load test carried; 7 days of history, refit every 12 h, "
        "metric not cut to a whole number",
        setup=_dsp,
        knobs=(TARGET_SHARE, DOWN_WINDOW),
    ),
)
