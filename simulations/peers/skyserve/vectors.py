"""Our law beside the answers of the peer's own code."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from simulations.peers.skyserve.fleet import Change, Replica, Status, brought_to
from simulations.peers.skyserve.law import (
    WINDOW_SECONDS,
    SkyHistory,
    SkySpec,
    decide,
    mixed,
    wanted_by_instances,
    wanted_by_rate,
)
from simulations.peers.vectors import Compared, VectorSet

_Row = dict[str, Any]

#: Target of the series by request rate, whose files do not say it: what their answers show.
_TARGET_QPS = 5.0
#: Delays of the one-tick table.
_ONE_DECISION_SECONDS = 20.0


def _spec(config: _Row) -> SkySpec:
    defaults = {
        "upscale_delay_seconds": config["upscale_delay_default_s"],
        "downscale_delay_seconds": config["downscale_delay_default_s"],
        "num_overprovision": 0,
        "base_ondemand_fallback_replicas": 0,
        "dynamic_ondemand_fallback": False,
    }
    asked = defaults | config
    return SkySpec(
        min_replicas=asked["min_replicas"],
        max_replicas=asked["max_replicas"],
        upscale_delay_seconds=asked["upscale_delay_seconds"],
        downscale_delay_seconds=asked["downscale_delay_seconds"],
        overprovision=asked["num_overprovision"],
        base_ondemand=asked["base_ondemand_fallback_replicas"],
        dynamic_ondemand=asked["dynamic_ondemand_fallback"],
    )


def _types(config: _Row) -> dict[str, float]:
    """Target per type, without the count behind the colon; empty where replicas are all alike."""
    declared: dict[str, float] = config.get("target_qps_per_replica", {})
    return {name.partition(":")[0]: target for name, target in declared.items()}


def _split(spec: SkySpec, target: int, replicas: Sequence[Replica]) -> tuple[Change, Change]:
    spot = [replica for replica in replicas if replica.spot]
    ondemand = [replica for replica in replicas if not replica.spot]
    ready = sum(replica.status is Status.READY for replica in spot)
    mix = mixed(spec, target, ready)
    return brought_to(spot, mix.spot), brought_to(ondemand, mix.ondemand)


def _terminated(at: str, expected: Sequence[int], found: Sequence[int]) -> Iterator[Compared]:
    for place, (theirs, ours) in enumerate(zip_longest(expected, found)):
        yield Compared(at=f"{at} terminate {place}", expected=theirs, found=ours)


def _fallback_table(document: _Row) -> Iterator[Compared]:
    for number, row in enumerate(document["ticks"]):
        spec = SkySpec(
            min_replicas=0,
            max_replicas=row["target"],
            overprovision=row["overprovision"] or 0,
            base_ondemand=row["base_ondemand"],
            dynamic_ondemand=row["dynamic"],
        )
        replicas = [
            Replica(number=name, status=Status(status), spot=bool(spot))
            for name, status, spot in row["replicas"]
        ]
        spot, ondemand = _split(spec, row["target"], replicas)
        at = f"row {number}"
        yield Compared(at=f"{at} spot", expected=row["launch_spot"], found=spot.launch)
        yield Compared(at=f"{at} other", expected=row["launch_ondemand"], found=ondemand.launch)
        yield from _terminated(at, row["terminate"], spot.terminate + ondemand.terminate)


def _instance_table(document: _Row) -> Iterator[Compared]:
    types = _types(document["config"])
    spec = SkySpec(
        min_replicas=document["config"]["min"],
        max_replicas=document["config"]["max"],
        upscale_delay_seconds=_ONE_DECISION_SECONDS,
        downscale_delay_seconds=_ONE_DECISION_SECONDS,
    )
    for number, row in enumerate(document["ticks"]):
        replicas = [
            Replica(
                number=name,
                status=Status(status),
                target_qps=types.get(gpu, min(types.values())),
            )
            for name, status, gpu in row["replicas"]
        ]
        qps = row["requests_in_window"] / WINDOW_SECONDS
        wanted = wanted_by_instances(spec, qps, replicas, max(types.values()))
        target = decide(spec, SkyHistory(target=row["old_target"]), wanted).target
        change = brought_to(replicas, target, by_qps=True)
        at = f"row {number}"
        yield Compared(at=f"{at} target", expected=row["target"], found=target)
        yield Compared(at=f"{at} launch", expected=row["launch"], found=change.launch)
        yield from _terminated(at, row["terminate"], change.terminate)


def _replicas(row: _Row, types: dict[str, float]) -> list[Replica]:
    """The records before a decision; where only counts are given, numbered from 1 as launched."""
    seen = row["replicas"]
    if isinstance(seen, dict):
        return [
            Replica(number=number, status=Status.READY)
            for number in range(1, seen["nonterminal"] + 1)
        ]
    return [
        Replica(
            number=number,
            status=Status(status),
            spot=bool(spot),
            target_qps=types[gpu[0]] if gpu else 0.0,
        )
        for number, status, spot, *gpu in seen
    ]


def _series(document: _Row) -> Iterator[Compared]:
    spec, types = _spec(document["config"]), _types(document["config"])
    by_mix = spec.dynamic_ondemand or spec.base_ondemand > 0
    history = SkyHistory(target=spec.min_replicas)
    for row in document["ticks"]:
        at = f"{row['t']:g} s"
        slept = history.next_decision_seconds
        yield Compared(at=f"{at} interval", expected=row["interval"], found=slept)
        replicas = _replicas(row, types)
        qps = row["in_window"] / WINDOW_SECONDS
        wanted = (
            wanted_by_instances(spec, qps, replicas, max(types.values()))
            if types
            else wanted_by_rate(spec, qps, _TARGET_QPS)
        )
        history = decide(spec, history, wanted)
        spot = Change(launch=0)
        if by_mix:
            spot, other = _split(spec, history.target, replicas)
        else:
            final = history.target + spec.overprovision
            other = brought_to(replicas, final, by_qps=bool(types))
        for name, ours in (
            ("target", history.target),
            ("up_counter", history.up_count),
            ("down_counter", history.down_count),
            ("launch_spot", spot.launch),
            ("launch_other", other.launch),
        ):
            yield Compared(at=f"{at} {name}", expected=row[name], found=ours)
        yield from _terminated(at, row["terminate"], spot.terminate + other.terminate)


VECTORS: tuple[VectorSet, ...] = (
    VectorSet(law="SkyServe fallback mix", files=("sky-fallback-table",), replay=_fallback_table),
    VectorSet(
        law="SkyServe instance-aware", files=("sky-instance-aware-table",), replay=_instance_table
    ),
    VectorSet(
        law="SkyServe series",
        files=(
            "sky-series-default",
            "sky-series-delay30",
            "sky-series-fallback-dynamic",
            "sky-series-fallback-overprovision",
            "sky-series-instance-aware",
            "sky-series-zero-fast",
        ),
        replay=_series,
    ),
)
