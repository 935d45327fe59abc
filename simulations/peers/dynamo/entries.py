"""Dynamo's planner as peers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from controller.core.domain.variant import Role
from controller.ports import Planner
from simulations.peers.dynamo.capacity import LatencyTargets
from simulations.peers.dynamo.classic_planner import CLASSIC_PEERS
from simulations.peers.dynamo.passes import PassMix
from simulations.peers.dynamo.planner import Component, DynamoPlanner
from simulations.peers.dynamo.predictors import PredictorKind, require
from simulations.peers.dynamo.thresholds import LATENCY, THROUGHPUT, Thresholds
from simulations.peers.dynamo.throughput import GpuBand
from simulations.peers.peer import InvalidSetting, Knob, Peer, PeerFacts, Settings

#: Shares of the SLO's thresholds that the planner's targets are. Its estimates are means, and what
#: an engine carries depends so little on the time between tokens that only small shares leave room.
_TTFT_SHARE = Knob(name="ttft_share", default=1.0, values=(0.3, 0.6, 1.0), least=0.05, most=2.0)
_ITL_SHARE = Knob(
    name="itl_share",
    default=1.0,
    values=(0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0),
    least=0.05,
    most=2.0,
)
_LOAD_INTERVAL = Knob(
    name="load_interval_seconds", default=5.0, values=(5.0, 60.0), least=1.0, most=3600.0
)
_THROUGHPUT_INTERVAL = Knob(
    name="throughput_interval_seconds",
    default=180.0,
    values=(90.0, 180.0),
    least=15.0,
    most=3600.0,
)
#: 1: times of passes are learned from those seen, as where no model of the engine is at hand.
_LEARNED = Knob(name="learned_pass_times", default=0.0, values=(0.0,), most=1.0)
#: Without a default of their own: Dynamo's target `load` must be given them. These are what it
#: was run with for its vectors.
_UP_PERCENT = Knob(
    name="scale_up_kv_percent",
    default=80.0,
    values=(30.0, 40.0, 50.0, 65.0, 80.0),
    least=1.0,
    most=100.0,
)
_DOWN_PERCENT = Knob(
    name="scale_down_kv_percent", default=30.0, values=(10.0, 20.0), least=0.0, most=99.0
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mode:
    """A configuration: its target's thresholds (None: `sla`), and the loops that run."""

    thresholds: Callable[[Settings], Thresholds] | None = None
    load_loop: bool = True
    predictor: PredictorKind | None = None

    def setup(self, facts: PeerFacts, settings: Settings) -> Planner[Any]:
        """Every Primary as a component, the others at their minimum."""
        if self.predictor is not None:
            require(self.predictor)
        load = settings.get(_LOAD_INTERVAL.name, _LOAD_INTERVAL.default)
        throughput = settings.get(_THROUGHPUT_INTERVAL.name, _THROUGHPUT_INTERVAL.default)
        if self.predictor is not None and load >= throughput:
            raise InvalidSetting(
                f"{_LOAD_INTERVAL.name}: found {load:g}; write less than "
                f"{_THROUGHPUT_INTERVAL.name}, {throughput:g}"
            )
        slo = facts.policy.slo
        targets = LatencyTargets(
            ttft_milliseconds=1000.0 * settings.get(_TTFT_SHARE.name, 1.0) * slo.ttft_seconds,
            itl_milliseconds=1000.0 * settings.get(_ITL_SHARE.name, 1.0) * slo.tpot_seconds,
        )
        thresholds = None if self.thresholds is None else self.thresholds(settings)
        mix = PassMix.of(facts.mix)
        components = tuple(
            Component(
                engine=tested.profile,
                mix=mix,
                tokens=(facts.mix.prompt_mean, facts.mix.output_mean),
                band=GpuBand(
                    min_endpoint=max(1, variant.min_replicas), max_gpus=variant.max_replicas
                ),
                targets=targets,
                thresholds=thresholds,
                load_loop=self.load_loop,
                predictor=self.predictor,
                learned=settings.get(_LEARNED.name, 0.0) > 0.0,
                load_interval_seconds=load,
                throughput_interval_seconds=throughput,
            )
            if variant.role is Role.PRIMARY
            else None
            for variant, tested in zip(facts.policy.variants, facts.capacity.variants, strict=True)
        )
        return DynamoPlanner(components)


def _peer(name: str, mode: _Mode, description: str, *knobs: Knob) -> Peer:
    return Peer(
        name=f"dynamo-{name}",
        family="dynamo",
        description=description,
        setup=mode.setup,
        knobs=knobs,
    )


def _throughput_peer(kind: PredictorKind, predicted: str) -> Peer:
    return _peer(
        f"sla-throughput-{kind}",
        _Mode(load_loop=False, predictor=kind),
        "Dynamo's planner (1.6.1), target sla, throughput loop only, every 180 s, its load "
        f"{predicted}",
        _TTFT_SHARE,
        _ITL_SHARE,
        _THROUGHPUT_INTERVAL,
        _LEARNED,
    )


def _own_thresholds(settings: Settings) -> Thresholds:
    up, down = settings[_UP_PERCENT.name], settings[_DOWN_PERCENT.name]
    if down >= up:
        raise InvalidSetting(
            f"{_DOWN_PERCENT.name}: found {down:g}; write less than {_UP_PERCENT.name}, {up:g}"
        )
    return Thresholds(up=up / 100.0, down=down / 100.0)


PRESENT_PEERS: tuple[Peer, ...] = (
    _peer(
        "default",
        _Mode(thresholds=lambda _: THROUGHPUT.kv),
        "Dynamo's planner (1.6.1) as packaged: target throughput, one more where KV use with the "
        "queue is above 1, one less below .6; its budget of 8 GPUs lifted to the maximum",
        _LOAD_INTERVAL,
    ),
    _peer(
        "latency",
        _Mode(thresholds=lambda _: LATENCY.kv),
        "Dynamo's planner (1.6.1), target latency: KV use with the queue between .1 and .4",
        _LOAD_INTERVAL,
    ),
    _peer(
        "load",
        _Mode(thresholds=_own_thresholds),
        "Dynamo's planner (1.6.1), target load: KV use with the queue between the user's "
        "thresholds, here 30 and 80 %",
        _UP_PERCENT,
        _DOWN_PERCENT,
        _LOAD_INTERVAL,
    ),
    _peer(
        "sla-load",
        _Mode(),
        "Dynamo's planner (1.6.1), target sla, load loop only: one more or less by latencies "
        "estimated for every engine",
        _TTFT_SHARE,
        _ITL_SHARE,
        _LOAD_INTERVAL,
        _LEARNED,
    ),
    _throughput_peer(PredictorKind.CONSTANT, "as in the last interval"),
    _throughput_peer(PredictorKind.ARIMA, "predicted by auto-ARIMA, its default"),
    _throughput_peer(PredictorKind.KALMAN, "predicted by a Kalman filter"),
    _throughput_peer(PredictorKind.PROPHET, "predicted by Prophet"),
    _peer(
        "sla",
        _Mode(predictor=PredictorKind.ARIMA),
        "Dynamo's planner (1.6.1), target sla, both loops: the throughput loop every 180 s by "
        "auto-ARIMA sets the floor of the load loop",
        _TTFT_SHARE,
        _ITL_SHARE,
        _THROUGHPUT_INTERVAL,
        _LOAD_INTERVAL,
        _LEARNED,
    ),
)

PEERS: tuple[Peer, ...] = (*PRESENT_PEERS, *CLASSIC_PEERS)
