"""Ray Serve's autoscaler on hand-made cases; its own answers are compared in test_vectors.py."""

import pytest

from simulations.peers.ray.law import RayHistory, RaySpec, decide, wanted_replicas
from simulations.peers.ray.requests import Merge, ongoing_requests


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
