"""The engine against published points and against figures of an independent prototype."""

from typing import Final

import numpy as np
import pytest

from simulations.bench.engine import AZURE
from simulations.engine.capacity import TokenSample
from simulations.trust.anchors import POINTS, Kind, points, simulated_milliseconds
from simulations.trust.engine_anchors import (
    CapacityAnchor,
    OverloadAnchor,
    azure_tokens,
    overload_anchors,
    pool_anchors,
    routing_anchors,
    simulated_capacity,
    simulated_ratio,
)

with_points = pytest.mark.skipif(
    not POINTS.exists(), reason=f"{POINTS} is absent: measured points are not checked"
)
with_azure = pytest.mark.skipif(
    not AZURE.exists(), reason=f"{AZURE} is absent: capacity anchors are not checked"
)


def passes(kind: Kind) -> list[float]:
    """Relative errors of single passes, each of which must be the published model's figure."""
    errors = []
    for point in points():
        if point.kind is kind:
            found = simulated_milliseconds(point)
            # The published figures are printed to six digits, their inputs to three.
            assert found == pytest.approx(point.published_milliseconds, rel=1e-4), point.name
            errors.append(found / point.measured_milliseconds - 1.0)
    return errors


@with_points
def test_measured_servers_inter_token_times() -> None:
    """Served points measured on real GPUs are met within 3 % in the mean and 9 % at worst."""
    errors = np.array(
        [
            simulated_milliseconds(point) / point.measured_milliseconds - 1.0
            for point in points()
            if point.kind is Kind.SERVE and point.trust == "measured"
        ]
    )
    assert len(errors) == 32
    assert np.mean(np.abs(errors)) <= 0.03
    assert np.max(np.abs(errors)) <= 0.09


@with_points
def test_single_decode_passes() -> None:
    """A decode pass of every kernel row equals the model's figure and misses by 11 % at most."""
    errors = passes(Kind.DECODE)
    assert len(errors) == 198
    assert np.max(np.abs(errors)) <= 0.11


@with_points
def test_single_prefill_passes() -> None:
    """A prefill pass of every kernel row equals the model's figure."""
    errors = passes(Kind.PREFILL)
    assert len(errors) == 96
    assert np.max(np.abs(errors)) <= 0.16


@pytest.fixture(scope="module")
def azure() -> TokenSample:
    """Token pairs of the Azure conversation trace."""
    return azure_tokens()


def named(anchor: CapacityAnchor) -> str:
    """The case of a parameter in the test's name."""
    fleet = "+".join(f"{count}x{kind}" for kind, count in anchor.case.replicas)
    routing = anchor.case.routing
    return f"{fleet}-{routing.law}-{routing.balancing}-{anchor.case.tpot_seconds:g}s"


@with_azure
@pytest.mark.parametrize("anchor", tuple(pool_anchors()), ids=named)
def test_capacity_per_replica(azure: TokenSample, anchor: CapacityAnchor) -> None:
    """Capacity of 1, 5 and 20 replicas is within 5 % of the independent prototype's."""
    found = simulated_capacity(anchor, azure)
    assert found == pytest.approx(anchor.requests_per_second, rel=0.05)


@with_azure
@pytest.mark.parametrize("anchor", tuple(routing_anchors()), ids=named)
def test_capacity_by_routing_law(azure: TokenSample, anchor: CapacityAnchor) -> None:
    """Capacity of mixed fleets is within 5 % of the prototype's under three routing laws."""
    found = simulated_capacity(anchor, azure)
    assert found == pytest.approx(anchor.requests_per_second, rel=0.05)


def overloaded(anchor: OverloadAnchor) -> str:
    """The overload of a parameter in the test's name."""
    limit = anchor.queue_limit or "none"
    return f"{anchor.replicas}-{anchor.tpot_seconds:g}s-{limit}-{anchor.overload:g}"


# Replicas, TPOT in seconds, limit per replica -> overloads. The prototype's five seeds scatter by
# up to 20 % in the milder ones (our 40 seeds, standard error of 5), which only the report shows.
STEADY: Final[dict[tuple[int, float, int | None], set[float]]] = {
    (20, 0.05, None): {1.2, 1.3},
    (20, 0.05, 140): {1.1, 1.2, 1.3},
    (20, 0.025, None): {1.2, 1.3},
    (20, 0.025, 75): {1.05, 1.1, 1.2, 1.3},
    (5, 0.05, None): {1.3},
    (5, 0.05, 130): {1.2, 1.3},
}
OVERLOADS: Final = [
    anchor
    for anchor in overload_anchors()
    if anchor.overload in STEADY[anchor.replicas, anchor.tpot_seconds, anchor.queue_limit]
]


@with_azure
@pytest.mark.parametrize("anchor", OVERLOADS, ids=overloaded)
def test_misses_in_an_overload(azure: TokenSample, anchor: OverloadAnchor) -> None:
    """Misses over the fluid shortfall, mean of 10 seeds, are within 15 % of the prototype's."""
    assert simulated_ratio(anchor, azure)[0] == pytest.approx(anchor.ratio, rel=0.15)
