"""KEDA as peers: by its triggers."""

from typing import Any

from controller.ports import Planner
from simulations.peers.hpa.entries import DOWN_WINDOW, TARGET_SHARE
from simulations.peers.hpa.setups import WAITING_TARGET
from simulations.peers.keda.llmd import Calibration, SaturationBand, prefill_tokens_per_second
from simulations.peers.keda.llmd_setups import guard_keda, slo_keda, token_keda, windows_keda
from simulations.peers.keda.setups import queue_keda, waiting_keda
from simulations.peers.peer import InvalidSetting, Knob, Peer, PeerFacts, Settings

_WAITING_TARGET = Knob(
    name="target_waiting",
    default=WAITING_TARGET,
    values=(1.0, 2.0, 3.0, 5.0, 10.0),
    least=0.001,
)

# Tuning tries more than the guides' sizes: from 16 running, made for 32B models, to the slots of
# small ones, and KV shares that a replica reaches before its queue limit refuses.
_LLMD_WAITING = Knob(name="target_waiting", default=1.0, values=(1.0, 5.0, 10.0, 25.0), least=0.001)
_LLMD_RUNNING = Knob(
    name="target_running", default=16.0, values=(16.0, 32.0, 64.0, 96.0, 128.0, 192.0), least=0.001
)
_UP_WINDOW = Knob(
    name="up_window_seconds",
    default=300.0,
    values=(0.0, 60.0, 180.0, 300.0),
    most=3600.0,  # the API's own limit
)
_SATURATION_UP = Knob(
    name="saturation_up", default=0.55, values=(0.55, 0.65, 0.75, 0.9), least=0.01, most=2.0
)
_SATURATION_DOWN = Knob(
    name="saturation_down", default=0.40, values=(0.25, 0.40, 0.5), least=0.01, most=2.0
)
_FLOORED = Knob(name="floor_increases", default=0.0, values=(0.0, 1.0), most=1.0)
_SLO_DOWN_WINDOW = Knob(
    name="down_window_seconds", default=180.0, values=(60.0, 180.0, 300.0), most=3600.0
)
_BACKLOG = Knob(
    name="target_backlog_seconds", default=1.5, values=(0.5, 1.0, 1.5, 3.0), least=0.001
)
_KV_SHARE = Knob(
    name="target_kv_share",
    default=0.8,
    values=(0.2, 0.3, 0.4, 0.5, 0.65, 0.8),
    least=0.01,
    most=1.0,
)
_UP_PERIOD = Knob(
    name="up_period_seconds", default=180.0, values=(15.0, 60.0, 180.0), least=1.0, most=1800.0
)
_DOWN_PERIOD = Knob(
    name="down_period_seconds", default=300.0, values=(60.0, 120.0, 300.0), least=1.0, most=1800.0
)


def _llmd_windows(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    return windows_keda(
        facts.policy,
        target_waiting=settings["target_waiting"],
        target_running=settings["target_running"],
        up_window_seconds=round(settings["up_window_seconds"]),
        down_window_seconds=round(settings["down_window_seconds"]),
    )


def _llmd_guard(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    return guard_keda(
        facts.policy,
        target_waiting=settings["target_waiting"],
        target_running=settings["target_running"],
        down_window_seconds=round(settings["down_window_seconds"]),
    )


def _llmd_slo(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    up, down = settings["saturation_up"], settings["saturation_down"]
    if down > up:
        raise InvalidSetting(
            f"saturation_down: found {down:g} above saturation_up {up:g}; write at most that"
        )
    return slo_keda(
        facts.policy,
        band=SaturationBand(up=up, down=down, floored=settings["floor_increases"] > 0.0),
        down_window_seconds=round(settings["down_window_seconds"]),
    )


def _llmd_token(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    return token_keda(
        facts.policy,
        Calibration(
            prefill_tokens_per_second=tuple(
                prefill_tokens_per_second(variant.profile) for variant in facts.capacity.variants
            ),
            prompt_tokens_mean=facts.mix.prompt_mean,
        ),
        backlog_seconds=settings["target_backlog_seconds"],
        kv_share=settings["target_kv_share"],
        up_period_seconds=round(settings["up_period_seconds"]),
        down_period_seconds=round(settings["down_period_seconds"]),
        down_window_seconds=round(settings["down_window_seconds"]),
    )


def _queue(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    return queue_keda(facts.policy, facts.knees, share=settings["target_share"])


def _waiting(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    return waiting_keda(facts.policy, target=settings["target_waiting"])


PEERS = (
    Peer(
        name="keda-queue",
        family="keda",
        description="KEDA on waiting + running per replica, target 0.8 of the knee, KEDA's "
        "defaults",
        setup=_queue,
        knobs=(TARGET_SHARE,),
    ),
    Peer(
        name="keda-waiting",
        family="keda",
        description="KEDA on waiting requests per replica, target 5, KEDA's defaults as in "
        "tutorials",
        setup=_waiting,
        knobs=(_WAITING_TARGET,),
    ),
    Peer(
        name="keda-llmd-windows",
        family="keda-llmd",
        description="llm-d's KEDA guide (2026): 1 waiting and 16 running per replica, windows of "
        "300 s up and down",
        setup=_llmd_windows,
        knobs=(_LLMD_WAITING, _LLMD_RUNNING, _UP_WINDOW, DOWN_WINDOW),
    ),
    Peer(
        name="keda-llmd-guard",
        family="keda-llmd",
        description="llm-d's overshoot guard (2026): 1 waiting or 16 running per replica less what "
        "starts, up at once, window of 300 s down",
        setup=_llmd_guard,
        knobs=(_LLMD_WAITING, _LLMD_RUNNING, DOWN_WINDOW),
    ),
    Peer(
        name="keda-llmd-slo",
        family="keda-llmd",
        description="llm-d's SLO-aware guide (2026): P90 of both latencies at 0.40 to 0.55 of the "
        "SLO, up 100 % or 4 per 60 s, down 1 per 120 s",
        setup=_llmd_slo,
        knobs=(_SATURATION_UP, _SATURATION_DOWN, _FLOORED, _SLO_DOWN_WINDOW),
    ),
    Peer(
        name="keda-llmd-token",
        family="keda-llmd",
        description="llm-d's token-aware guide (2026): 1.5 s of prefill backlog or 0.8 of KV per "
        "replica, up 1 per 180 s, down 1 per 300 s",
        setup=_llmd_token,
        knobs=(_BACKLOG, _KV_SHARE, _UP_PERIOD, _DOWN_PERIOD, DOWN_WINDOW),
    ),
)
