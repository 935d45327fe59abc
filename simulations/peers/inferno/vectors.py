"""Our law beside the answers of the peer's own code, which computes in single precision."""

from collections.abc import Iterator
from typing import Any

from simulations.peers.inferno.queue import (
    FourParameters,
    ReplicaQueue,
    ThreeParameters,
    Tokens,
)
from simulations.peers.inferno.sizing import Targets, sized
from simulations.peers.inferno.solver import (
    Accelerator,
    Candidate,
    Load,
    Placement,
    Server,
    candidates,
    chosen,
)
from simulations.peers.vectors import Compared, VectorSet

_ANALYZE_TOLERANCE = 2e-3
_SIZE_TOLERANCE = 5e-3
_WAIT_MILLISECONDS = 2e-2

_Row = dict[str, Any]


def _rows(document: dict[str, Any]) -> Iterator[tuple[str, _Row]]:
    for number, values in enumerate(document["ticks"]):
        yield f"row {number}", dict(zip(document["columns"], values, strict=True))


def _queue(row: _Row) -> ReplicaQueue:
    timing: ThreeParameters | FourParameters
    if "delta" in row:
        timing = FourParameters(
            alpha=row["alpha_ms"], beta=row["beta"], gamma=row["gamma"], delta=row["delta"]
        )
    else:
        timing = ThreeParameters(alpha=row["alpha_ms"], beta=row["beta"], gamma=row["gamma"])
    return ReplicaQueue(
        timing=timing,
        tokens=Tokens(row["I"], row["O"]),
        max_batch=row["N"],
        max_queue=row["Qmax"],
    )


def _analyze(document: dict[str, Any]) -> Iterator[Compared]:
    for at, row in _rows(document):
        queue = _queue(row)
        state = queue.at(row["rate"] / 1000.0)
        found = {
            "rate_min": 1000.0 * queue.least_rate,
            "rate_max": 1000.0 * queue.most_rate,
            "throughput": 1000.0 * state.throughput,
            "wait": state.waiting,
            "in_service": state.served,
            "prefill": state.latencies.prefill,
            "ttft": state.latencies.ttft,
            "itl": state.latencies.itl,
            "rho": state.utilization,
        }
        for name in found.keys() & row.keys():
            yield Compared(
                at=f"{at}, {name}",
                expected=row[name],
                found=found[name],
                relative=_ANALYZE_TOLERANCE,
                absolute=_WAIT_MILLISECONDS if name in {"wait", "ttft"} else 0.0,
            )


def _size(document: dict[str, Any]) -> Iterator[Compared]:
    for at, row in _rows(document):
        targets = Targets(
            ttft=row["slo_ttft"], itl=row["slo_itl"], tokens_per_second=row["slo_tps"]
        )
        sizing = sized(_queue(row), targets)
        found: dict[str, float] = {}
        if sizing is not None:
            found = {
                "rate_ttft": 1000.0 * sizing.ttft_rate,
                "rate_itl": 1000.0 * sizing.itl_rate,
                "rate_tps": 1000.0 * sizing.throughput_rate,
                "throughput": 1000.0 * sizing.state.throughput,
                "ttft": sizing.state.latencies.ttft,
                "itl": sizing.state.latencies.itl,
            }
        for name in ("rate_ttft", "rate_itl", "rate_tps", "throughput", "ttft", "itl"):
            yield Compared(
                at=f"{at}, {name}",
                expected=row[name],
                found=found.get(name),
                relative=_SIZE_TOLERANCE,
                absolute=_WAIT_MILLISECONDS if name == "ttft" else 0.0,
            )


def _series(document: dict[str, Any]) -> Iterator[Compared]:
    config = document["config"]
    server = Server(
        targets=Targets(config["slo_ttft"], config["slo_itl"], config["slo_tps"]),
        min_replicas=config["min"],
        keep_accelerator=config["keep_accelerator"],
    )
    accelerators = _accelerators(config)
    for at, row in _rows(document):
        current = Placement(
            accelerator=row["current_acc"],
            replicas=row["current_replicas"],
            cost=row["current_cost"],
        )
        load = Load(
            requests_per_second=row["rate_per_min"] / 60.0,
            prompt_tokens=row["I"],
            output_tokens=row["O"],
        )
        found = candidates(server, accelerators, load, current)
        yield from _candidates_compared(at, row["candidates"], found)
        won = chosen(found) or current
        expected = row["acc"] is None
        names = (current.accelerator if expected else row["acc"], won.accelerator)
        yield Compared(at=f"{at}, acc {names}", expected=1.0, found=float(names[0] == names[1]))
        for name, ours in (("replicas", won.replicas), ("cost", won.cost)):
            theirs = getattr(current, name) if row[name] is None else row[name]
            yield Compared(at=f"{at}, {name}", expected=theirs, found=ours, relative=1e-6)


def _accelerators(config: dict[str, Any]) -> list[Accelerator]:
    costs = {name: cost * instances for name, cost, instances in config["accelerators"]}
    return [
        Accelerator(
            name=name,
            cost=costs[name],
            timing=ThreeParameters(alpha=alpha, beta=beta, gamma=gamma),
            max_batch=max_batch,
            at_tokens=at_tokens,
        )
        for name, alpha, beta, gamma, max_batch, at_tokens in config["perf"]
    ]


def _candidates_compared(
    at: str, expected: list[list[Any]], found: dict[str, Candidate]
) -> Iterator[Compared]:
    theirs = {row[0]: row[1:] for row in expected}
    for name in theirs.keys() | found.keys():
        ours = found.get(name)
        answers: list[float | None] = [None] * 5
        if ours is not None:
            placed = ours.placement
            answers = [
                placed.replicas,
                placed.max_batch,
                placed.cost,
                ours.value,
                placed.requests_per_second,
            ]
        columns = ("replicas", "max batch", "cost", "value", "rate")
        for column, one, answer in zip(columns, theirs.get(name, [None] * 5), answers, strict=True):
            yield Compared(
                at=f"{at}, candidate {name}, {column}",
                expected=one,
                found=answer,
                relative=_SIZE_TOLERANCE if column == "rate" else 1e-5,
                absolute=1e-3 if column == "value" else 0.0,
            )


VECTORS = (
    VectorSet(
        law="inferno: three-parameter queue",
        files=("inferno-analyze",),
        replay=_analyze,
    ),
    VectorSet(
        law="inferno: four-parameter queue",
        files=("inferno4-analyze",),
        replay=_analyze,
    ),
    VectorSet(
        law="inferno: sizing",
        files=("inferno-size", "inferno4-size"),
        replay=_size,
    ),
    VectorSet(
        law="inferno: solver",
        files=("inferno-series", "inferno-series-tight", "inferno-series-min0-keep"),
        replay=_series,
    ),
)
