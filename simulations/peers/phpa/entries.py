"""The predictive HPA as peers."""

from typing import Any

from controller.ports import Planner
from simulations.peers.forecast_hpa import ForecastHpa, primary
from simulations.peers.hpa.behavior import default_behavior
from simulations.peers.hpa.entries import DOWN_WINDOW, TARGET_SHARE
from simulations.peers.hpa.planner import ExternalAverage, Signal
from simulations.peers.hpa.setups import outstanding_target
from simulations.peers.load_test import carried_per_replica
from simulations.peers.peer import Knob, Peer, PeerFacts, Settings
from simulations.peers.phpa.holt_winters import HoltWintersModel
from simulations.peers.phpa.linear import LinearModel
from simulations.peers.phpa.planner import PhpaPlanner

_DAY_SECONDS = 86_400.0

#: The documentation's own example is 6 proposals: a minute and a half.
_HISTORY_SIZE = Knob(
    name="history_size", default=6.0, values=(6.0, 20.0, 60.0), least=1.0, most=1000.0
)


#: Smoothing of level, trend and season; the documentation's own example has 0.9 for all three.
_ALPHA = Knob(name="alpha", default=0.9, values=(0.1, 0.3, 0.9), most=1.0)
_BETA = Knob(name="beta", default=0.9, values=(0.01, 0.1, 0.9), most=1.0)
_GAMMA = Knob(name="gamma", default=0.9, values=(0.2, 0.9), most=1.0)


def _rates(facts: PeerFacts, settings: Settings) -> ForecastHpa:
    """The HPA on requests/s."""
    carried = carried_per_replica(facts, primary(facts.policy))
    return _hpa(Signal.ARRIVALS, settings["target_share"] * carried, settings)


def _outstanding(facts: PeerFacts, settings: Settings) -> ForecastHpa:
    """The HPA on outstanding requests."""
    first = primary(facts.policy)
    target = outstanding_target(
        facts.policy.variants[first], facts.knees[first], settings["target_share"]
    )
    return _hpa(Signal.OUTSTANDING, target, settings)


def _hpa(signal: Signal, target: float, settings: Settings) -> ForecastHpa:
    return ForecastHpa(
        metric=ExternalAverage(signal=signal, target=target),
        behavior=default_behavior(round(settings["down_window_seconds"])),
    )


def _linear(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    variant = facts.policy.variants[primary(facts.policy)]
    model = LinearModel(
        look_ahead_seconds=variant.cold_start_seconds,
        history_size=round(settings["history_size"]),
    )
    return PhpaPlanner(_outstanding(facts, settings), model)


def _holt_winters(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    model = HoltWintersModel(
        length=max(2, round(_DAY_SECONDS / facts.policy.tick_seconds)),
        alpha=settings["alpha"],
        beta=settings["beta"],
        gamma=settings["gamma"],
    )
    return PhpaPlanner(_rates(facts, settings), model)


PEERS = (
    Peer(
        name="phpa-linear",
        family="phpa",
        description="Predictive HPA (0.13.2): HPA on waiting + running per replica, target 0.8 of "
        "the knee, and a line through its last 6 proposals one cold start ahead, the greater; "
        "predictions rounded before the ceiling",
        setup=_linear,
        knobs=(TARGET_SHARE, DOWN_WINDOW, _HISTORY_SIZE),
    ),
    Peer(
        name="phpa-holt-winters",
        family="phpa",
        description="Predictive HPA (0.13.2): HPA on requests/s, target 0.8 of what a load test "
        "carried, and Holt-Winters of its proposals one sync ahead, the greater; seasons of a day, "
        "4 stored, smoothing 0.9 as in the documentation, in time order (the original's is mixed)",
        setup=_holt_winters,
        knobs=(TARGET_SHARE, DOWN_WINDOW, _ALPHA, _BETA, _GAMMA),
    ),
)
