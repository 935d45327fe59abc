"""Our KPA beside Knative's own answers: decisions, window averages, the way to zero."""

from collections.abc import Iterator, Sequence
from typing import Any

from simulations.peers.knative.law import KpaSpec, decide, excess_burst_capacity, started
from simulations.peers.knative.windows import Aggregation, Window
from simulations.peers.knative.zero import Activity, ZeroSpec, created, reconcile
from simulations.peers.vectors import Compared, VectorSet

_Row = dict[str, Any]

#: The recorded averages are rounded.
_AVERAGES = 2e-6
_ACTIVITIES = tuple(Activity)


def _average(at: str, expected: float | None, found: float | None) -> Compared:
    return Compared(at=at, expected=expected, found=found, relative=_AVERAGES, absolute=_AVERAGES)


def _follow(at: str, config: _Row, rows: Sequence[Sequence[Any]]) -> Iterator[Compared]:
    """Averages, decision and burst capacity at every tick; all None before there is a metric."""
    spec = KpaSpec(
        target=config["target"],
        max_scale_up_rate=config["max_scale_up_rate"],
        max_scale_down_rate=config["max_scale_down_rate"],
        panic_threshold=config["panic_threshold"],
        stable_window_seconds=config["stable_window_s"],
        panic_window_seconds=config["panic_window_s"],
        scale_down_delay_seconds=config["scale_down_delay_s"],
        activation_scale=config["activation_scale"],
        reachable=config["reachable"],
        aggregation=Aggregation(config["aggregation"]),
    )
    offset = config["start_offset_ms"] / 1000
    history = started(spec, config["ready_at_start"], offset)
    for tick, ready, samples, stable, panic, desired, burst in rows:
        now = tick + offset
        history = history.recorded(
            [
                (now - len(samples) + position, sample)
                for position, sample in enumerate(samples, start=1)
                if sample is not None
            ]
        )
        outcome, history = decide(spec, history, ready, now)
        here = f"{at}{tick:g} s"
        averages: tuple[float | None, float | None] = (None, None)
        replicas, left = None, None
        if outcome is not None:
            averages = outcome.stable_average, outcome.panic_average
            replicas = outcome.desired
            left = excess_burst_capacity(
                config["total"], ready, outcome.panic_average, config["target_burst_capacity"]
            )
        yield _average(f"{here} stable", stable, averages[0])
        yield _average(f"{here} panic", panic, averages[1])
        yield Compared(at=f"{here} desired", expected=desired, found=replicas)
        yield Compared(at=f"{here} burst capacity", expected=burst, found=left)


def _series(document: _Row) -> Iterator[Compared]:
    yield from _follow("", document["config"], document["ticks"])


def _random_configurations(document: _Row) -> Iterator[Compared]:
    for number, (config, rows) in enumerate(document["ticks"]):
        yield from _follow(f"series {number} ", config, rows)


def _windows(document: _Row) -> Iterator[Compared]:
    """Averages of a window alone, for writes and queries out of order too."""
    for seconds, rows in document["ticks"]:
        window = Window(seconds=seconds)
        for place, (now, value, linear, exponential, empty) in enumerate(rows):
            if value is not None:
                window = window.recorded([(now, value)])
                continue
            at = f"{seconds} s window row {place}"
            yield Compared(at=f"{at} empty", expected=empty, found=window.empty(now))
            for aggregation, average in (
                (Aggregation.LINEAR, linear),
                (Aggregation.WEIGHTED_EXPONENTIAL, exponential),
            ):
                yield _average(f"{at} {aggregation}", average, window.average(now, aggregation))


def _life_cycle(document: _Row) -> Iterator[Compared]:
    """Want, write, replicas, activity and the activator's place at every tick."""
    config = document["config"]
    spec = ZeroSpec(
        min_replicas=config["min"],
        max_replicas=config["max"],
        scale_to_zero=config["enable_scale_to_zero"],
        stable_window_seconds=config["stable_window_s"],
        grace_seconds=config["scale_to_zero_grace_s"],
        retention_seconds=config["pod_retention_s"],
        progress_deadline_seconds=config["progress_deadline_s"],
    )
    bursts = config["target_burst_capacity"] < 0
    history = created(0.0)
    for now, before, ready, decided, want, apply, after, state, mode in document["ticks"]:
        applied, history = reconcile(
            spec, history, decided, ready, bursts_need_activator=bursts, now=now
        )
        activity = _ACTIVITIES.index(Activity(state))
        proxied = history.proxied_at_seconds is not None
        for name, expected, found in (
            ("want", want, applied.want),
            ("apply", apply, applied.apply),
            ("replicas", after, applied.want if applied.apply else before),
            ("activity", activity, _ACTIVITIES.index(history.activity)),
            ("proxied", mode == "Proxy", proxied),
        ):
            yield Compared(at=f"{now:g} s {name}", expected=expected, found=found)


VECTORS: tuple[VectorSet, ...] = (
    VectorSet(
        law="Knative KPA",
        files=(
            "kpa-activation3",
            "kpa-concurrency-default",
            "kpa-concurrency-gaps",
            "kpa-llm-delay300",
            "kpa-offset300ms",
            "kpa-rps",
            "kpa-unreachable",
            "kpa-weighted-exponential",
        ),
        replay=_series,
    ),
    VectorSet(law="Knative KPA", files=("kpa-fuzz",), replay=_random_configurations),
    VectorSet(law="Knative windows", files=("kpa-buckets",), replay=_windows),
    VectorSet(
        law="Knative scale to zero",
        files=(
            "kpa-zero-coldfail",
            "kpa-zero-disabled",
            "kpa-zero-min2",
            "kpa-zero-proxy",
            "kpa-zero-retention",
            "kpa-zero-serve",
        ),
        replay=_life_cycle,
    ),
)
