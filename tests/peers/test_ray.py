"""Ray Serve's autoscaler against its own answers, and on hand-made cases."""

import json
from pathlib import Path
from typing import Any

import pytest

from simulations.peers.ray.law import RayHistory, RaySpec, decide, wanted_replicas
from simulations.peers.ray.requests import Merge, ongoing_requests

GOLDEN = Path(__file__).parents[3] / "shared" / "reference" / "golden"
SERIES = (
    "ray-series-default",
    "ray-series-factors",
    "ray-series-slowloop",
    "ray-series-zero",
    "ray-series-zero-nodelay",
)

needs_golden = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason=f"golden vectors of the peers are not at {GOLDEN}"
)


def load(name: str) -> Any:
    """Read one vector file."""
    return json.loads((GOLDEN / f"{name}.json").read_text())


def spec_of(config: dict[str, Any]) -> RaySpec:
    """The autoscaling_config of a vector."""
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


@needs_golden
@pytest.mark.parametrize("name", SERIES)
def test_series_follow_ray(name: str) -> None:
    """Every target equals Ray's; load and replicas are held between the thinned rows."""
    document = load(name)
    rows = {row["t"]: row for row in document["ticks"]}
    spec, step = spec_of(document["config"]), document["config"]["loop_period_s"]
    history, target = RayHistory(), document["ticks"][0]["target"]
    ongoing, running = 0.0, 0
    seen = 0
    for tick in range(round(max(rows) / step) + 1):
        row = rows.get(tick * step)
        if row is not None:
            ongoing, running = row["q"], row["running"]
            assert target == row["target"], row
        target, history = decide(spec, history, ongoing, running, target, tick * step)
        if row is not None:
            assert target == row["new_target"], row
            seen += 1
    assert seen == len(rows)


@needs_golden
def test_single_decisions_follow_ray() -> None:
    """Without delays every decision of the table equals Ray's."""
    rows = load("ray-decision-table")["ticks"]
    assert rows
    for row in rows:
        target, _ = decide(spec_of(row), RayHistory(), row["q"], row["running"], row["target"], 0.0)
        assert target == row["new_target"], row


@needs_golden
def test_merged_requests_follow_ray() -> None:
    """Merged step functions equal Ray's totals."""
    rows = load("ray-aggregation-table")["ticks"]
    assert rows
    for row in rows:
        total = ongoing_requests(row["series"], Merge(row["aggregation"]), row["now"])
        assert total == pytest.approx(row["total"], rel=1e-6, abs=1e-6), row


def test_a_small_factor_still_comes_down() -> None:
    """One replica goes where rounding would keep all, but only if fewer are enough."""
    slow = RaySpec(max_replicas=9, target_ongoing_requests=1.0, downscaling_factor=0.1)
    assert wanted_replicas(slow, 3.9, 4) == 4
    assert wanted_replicas(slow, 2.9, 4) == 3


def test_the_delay_starts_again_after_a_contrary_tick() -> None:
    """Wanting to stay clears the time since when more was wanted."""
    spec = RaySpec(max_replicas=9)
    history, target = RayHistory(), 1
    for now in (0.0, 15.0):
        target, history = decide(spec, history, 10.0, 1, target, now)
    target, history = decide(spec, history, 2.0, 1, target, 20.0)
    for now in (29.0, 30.0, 58.0):
        target, history = decide(spec, history, 10.0, 1, target, now)
        assert target == 1
    assert decide(spec, history, 10.0, 1, target, 59.0)[0] == 5


@pytest.mark.parametrize(
    ("merge", "expected"), [(Merge.MEAN, 6.0), (Merge.MAX, 8.0), (Merge.MIN, 4.0)]
)
def test_sources_are_added_over_time(merge: Merge, expected: float) -> None:
    """The window opens when the last source reports, and each sample holds until the next."""
    sources = [[(0.0, 100.0), (5.0, 2.0)], [(10.0, 6.0), (15.0, 2.0)]]
    assert ongoing_requests(sources, merge, 20.0) == expected
    assert ongoing_requests([], merge, 20.0) == 0.0
