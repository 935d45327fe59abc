"""Our law beside the answers of Ray Serve's own autoscaler."""

from collections.abc import Iterator
from typing import Any

from simulations.peers.ray.law import RayHistory, RaySpec, decide
from simulations.peers.ray.requests import Merge, ongoing_requests
from simulations.peers.vectors import Compared, VectorSet

_Row = dict[str, Any]

#: Tolerance that the file of merged series states.
_TOTALS = 1e-6


def _spec(config: _Row) -> RaySpec:
    """An autoscaling_config; what it leaves out has Ray's defaults."""
    return RaySpec(
        min_replicas=config["min_replicas"],
        max_replicas=config["max_replicas"],
        target_ongoing_requests=config.get("target_ongoing_requests", 2),
        upscaling_factor=config.get("upscaling_factor", 1.0),
        downscaling_factor=config.get("downscaling_factor", 1.0),
        upscale_delay_seconds=config.get("upscale_delay_s", 30.0),
        downscale_delay_seconds=config.get("downscale_delay_s", 600.0),
        downscale_to_zero_delay_seconds=config.get("downscale_to_zero_delay_s"),
    )


def _series(document: _Row) -> Iterator[Compared]:
    """The target before and after every row; load and replicas are held between thinned rows.

    Raises:
        ValueError: a row is on no tick of the loop, so that it would not be compared.
    """
    rows = {row["t"]: row for row in document["ticks"]}
    spec, step = _spec(document["config"]), document["config"]["loop_period_s"]
    ticks = range(round(max(rows) / step) + 1)
    skipped = rows.keys() - {tick * step for tick in ticks}
    if skipped:
        raise ValueError(f"ticks at {sorted(skipped)} s are no multiples of loop_period_s {step}")
    history, target = RayHistory(), document["ticks"][0]["target"]
    ongoing, running = 0.0, 0
    for tick in ticks:
        now = tick * step
        row = rows.get(now)
        if row is not None:
            ongoing, running = row["q"], row["running"]
            yield Compared(at=f"{now:g} s before", expected=row["target"], found=target)
        target, history = decide(spec, history, ongoing, running, target, now)
        if row is not None:
            yield Compared(at=f"{now:g} s after", expected=row["new_target"], found=target)


def _decisions(document: _Row) -> Iterator[Compared]:
    """Single decisions without delays."""
    for number, row in enumerate(document["ticks"]):
        found, _ = decide(_spec(row), RayHistory(), row["q"], row["running"], row["target"], 0.0)
        yield Compared(at=f"row {number}", expected=row["new_target"], found=found)


def _merges(document: _Row) -> Iterator[Compared]:
    """Totals of step functions reported by several sources."""
    for number, row in enumerate(document["ticks"]):
        yield Compared(
            at=f"row {number}",
            expected=row["total"],
            found=ongoing_requests(row["series"], Merge(row["aggregation"]), row["now"]),
            relative=_TOTALS,
            absolute=_TOTALS,
        )


VECTORS: tuple[VectorSet, ...] = (
    VectorSet(
        law="Ray Serve",
        files=(
            "ray-series-default",
            "ray-series-factors",
            "ray-series-slowloop",
            "ray-series-zero",
            "ray-series-zero-nodelay",
        ),
        replay=_series,
    ),
    VectorSet(law="Ray Serve", files=("ray-decision-table",), replay=_decisions),
    VectorSet(law="Ray Serve merged requests", files=("ray-aggregation-table",), replay=_merges),
)
