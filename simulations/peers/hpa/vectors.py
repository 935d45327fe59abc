"""Our law beside the answers of Kubernetes' own controller, tick by tick."""

from collections.abc import Iterator
from typing import Any

from controller.core.domain.policy import RatePolicy, ScalingRules, SelectPolicy
from simulations.peers.hpa.behavior import HpaBehavior, Limit
from simulations.peers.hpa.law import HpaHistory, HpaSpec, sync
from simulations.peers.hpa.metrics import (
    CpuMetric,
    CpuPod,
    Pod,
    PodPhase,
    Tolerance,
    cpu_utilization_proposal,
    external_average_proposal,
    external_value_proposal,
    pods_proposal,
    ready_pods,
)
from simulations.peers.vectors import Compared, VectorSet

_Row = dict[str, Any]

_PHASES = {"P": PodPhase.PENDING, "R": PodPhase.RUNNING, "F": PodPhase.FAILED}
#: Metric types with which an HPA may go to zero.
_ZERO_KINDS = {"external-average", "external-value"}
_LIMITS = tuple(Limit)


def _rules(block: _Row, controller_window_seconds: int) -> ScalingRules:
    """Rules of one direction; a window left out is the controller's own."""
    window = block["window_s"]
    return ScalingRules(
        stabilization_window_seconds=controller_window_seconds if window is None else window,
        select_policy=SelectPolicy(block["select"]),
        policies=tuple(
            RatePolicy(
                percent=policy["type"] == "Percent",
                value=policy["value"],
                period_seconds=policy["period_s"],
            )
            for policy in block["policies"]
        ),
    )


def _tolerance(config: _Row) -> Tolerance:
    """Tolerance of both directions: a quantity such as 50m, or the controller's own."""

    def of(direction: str) -> float:
        quantity = (config[direction] or {}).get("tolerance")
        if quantity is None:
            return float(config["tolerance"])
        return int(quantity.removesuffix("m")) / 1000

    return Tolerance(up=of("scale_up"), down=of("scale_down"))


def _spec(config: _Row, min_replicas: int, *, zero_metric: bool) -> HpaSpec:
    window = config["controller_down_window_s"]
    behavior = None
    if config["scale_up"]:
        behavior = HpaBehavior(
            scale_up=_rules(config["scale_up"], window),
            scale_down=_rules(config["scale_down"], window),
        )
    return HpaSpec(
        min_replicas=min_replicas,
        max_replicas=config["max"],
        behavior=behavior,
        zero_metric=zero_metric,
        controller_window_seconds=window,
    )


def _pod(code: str, sample_milli: int | None = None) -> Pod:
    """Pod out of its code: phase, readiness, deletion mark."""
    return Pod(
        phase=_PHASES[code[0]],
        ready=code[1] == "r",
        terminating=code.endswith("d"),
        sample_milli=sample_milli,
    )


def _cpu_proposal(config: _Row, target_percent: int, tick: _Row) -> int | None:
    metric = CpuMetric(
        target_percent=target_percent,
        initialization_seconds=config["cpu_init_s"],
        initial_readiness_seconds=config["initial_readiness_s"],
    )
    pods = [
        CpuPod(
            pod=_pod(code, sample),
            request_milli=config["cpu_request_milli"],
            started_at_seconds=started,
            ready_changed_at_seconds=changed,
            sampled_at_seconds=sampled,
        )
        for code, sample, started, changed, sampled in tick["pods"]
    ]
    return cpu_utilization_proposal(pods, metric, tick["n"], _tolerance(config), tick["t"])


def _proposal(config: _Row, place: int, tick: _Row) -> int | None:
    """Proposal of the metric at this place of the list, at one tick; None: it failed."""
    metric, near = config["metrics"][place], _tolerance(config)
    kind, target = metric["kind"], metric["target_milli"]
    if not tick.get("metric_ok", True):
        return None
    if kind == "pods":
        return pods_proposal([_pod(*row) for row in tick["pods"]], target, tick["n"], near)
    if kind == "cpu":
        return _cpu_proposal(config, target, tick)
    series = tick["metrics_milli"][place]
    if series is None:
        return None
    if kind == "external-average":
        return external_average_proposal(sum(series), target, tick["s"], near)
    if kind != "external-value":
        raise ValueError(f"metrics[{place}].kind: {kind} is none that the law knows")
    ready = ready_pods([_pod(code) for code in tick["pods"]]) if "pods" in tick else tick["ready"]
    return external_value_proposal(sum(series), target, tick["n"], ready, near)


def _series(document: _Row) -> Iterator[Compared]:
    """Proposal, replicas, activity, limiting reason and ScaledToZero at every tick."""
    config = document["config"]
    zero_metric = any(metric["kind"] in _ZERO_KINDS for metric in config["metrics"])
    changes = config.get("min_change_at_tick", {})
    low, history = config["min"], HpaHistory()
    for number, row in enumerate(document["ticks"]):
        tick = dict(zip(document["columns"], row, strict=True))
        low = changes.get(str(number), low)
        spec = _spec(config, low, zero_metric=zero_metric)
        proposals = [_proposal(config, place, tick) for place in range(len(config["metrics"]))]
        outcome, history = sync(spec, history, tick["n"], proposals, tick["t"])
        at = f"tick {number}"
        for name, expected, found in (
            ("p", tick["p"], outcome.proposal),
            ("desired", tick["desired"], outcome.desired),
            ("active", tick["active"], outcome.active),
        ):
            yield Compared(at=f"{at} {name}", expected=expected, found=found)
        if outcome.active:
            reason = _LIMITS.index(Limit(tick["limited"]))
            found = _LIMITS.index(outcome.limit)
            yield Compared(at=f"{at} limited", expected=reason, found=found)
        if "scaled_to_zero" in tick:
            asleep = tick["scaled_to_zero"] == "True"
            found = history.scaled_to_zero
            yield Compared(at=f"{at} scaled_to_zero", expected=asleep, found=found)


def _random_behaviors(document: _Row) -> Iterator[Compared]:
    """Proposal and replicas under random windows, policies and tolerances, one average each."""
    target, step = document["config"]["target_milli"], document["config"]["tick_s"]
    for number, (config, series) in enumerate(document["ticks"]):
        spec, near = _spec(config, config["min"], zero_metric=True), _tolerance(config)
        history = HpaHistory()
        for tick, (replicas, total, proposal, desired) in enumerate(series):
            made = None
            if total is not None:
                made = external_average_proposal(1000 * total, target, replicas, near)
            outcome, history = sync(spec, history, replicas, [made], float(step * tick))
            at = f"series {number} tick {tick}"
            yield Compared(at=f"{at} p", expected=proposal, found=outcome.proposal)
            yield Compared(at=f"{at} desired", expected=desired, found=outcome.desired)


VECTORS: tuple[VectorSet, ...] = (
    VectorSet(
        law="HPA",
        files=(
            "hpa-cpu-utilization-custom-slowstart",
            "hpa-cpu-utilization-default",
            "hpa-external-average-custom",
            "hpa-external-average-default",
            "hpa-external-average-nobehavior",
            "hpa-external-average-two-metrics-custom",
            "hpa-external-value-custom",
            "hpa-external-value-default",
            "hpa-pods-default",
            "hpa-policies-event-slots",
            "hpa-steps-external-average",
            "hpa-steps-external-value",
            "hpa-steps-pods",
            "hpa-zero-default",
            "hpa-zero-manual-min0",
            "hpa-zero-manual-min1",
            "hpa-zero-min-raised",
            "hpa-zero-nobehavior",
            "hpa-zero-percent-only",
            "hpa-zero-value-default",
        ),
        replay=_series,
    ),
    VectorSet(law="HPA behavior", files=("hpa-policies-fuzz",), replay=_random_behaviors),
)
