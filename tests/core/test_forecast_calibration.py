"""Adaptive conformal margins cover their levels, and missing forecasts teach nothing."""

import numpy as np
import pytest
from numpy.typing import NDArray

from controller.core.forecasting import calibration as conformal
from controller.core.forecasting.calibration import LEVELS, MOST_MARGIN, Calibration
from controller.core.forecasting.trust import LEAST_TARGETS, judged


def lived(
    ratios: NDArray[np.float64], *, silent: bool = False
) -> tuple[Calibration, NDArray[np.bool_]]:
    """Score targets 100 x ``ratios`` against a base of 100; covered (n, C, L) besides.

    ``silent``: the third candidate gives nothing.
    """
    calibration = conformal.fresh()
    raw = np.full((3, len(LEVELS)), 100.0)
    if silent:
        raw[2] = np.nan
    covered = np.empty((len(ratios), 3, len(LEVELS)), dtype=np.bool_)
    for i, ratio in enumerate(ratios):
        said = raw * np.exp(calibration.margin)
        covered[i] = 100.0 * ratio <= said
        calibration = conformal.scored(calibration, raw, said, 100.0 * float(ratio))
    return calibration, covered


def test_margins_cover_their_levels() -> None:
    """On heavy-tailed ratios every level is covered within a percentage point and a half."""
    rng = np.random.default_rng(1)
    _, covered = lived(np.exp(0.06 * rng.standard_t(3, size=4000)))
    np.testing.assert_allclose(covered[500:, 0].mean(axis=0), LEVELS, atol=0.015)


def test_a_margin_after_jumps_is_bounded() -> None:
    """Jumps of threefold, one target in twenty, do not make every forecast threefold."""
    rng = np.random.default_rng(2)
    jumps = np.where(rng.uniform(size=1500) < 0.05, 3.0, 1.0)
    calibration, _ = lived(jumps * np.exp(0.02 * rng.standard_normal(1500)))
    assert calibration.margin.max() == pytest.approx(MOST_MARGIN)


def test_coverage_holds_through_a_change_of_spread() -> None:
    """Tripled spread, within the window, is followed well before the window has passed."""
    rng = np.random.default_rng(2)
    spread = np.repeat((0.05, 0.15), 1500)
    _, covered = lived(np.exp(spread * rng.normal(size=3000)))
    after = covered[1700:, 0].mean(axis=0)
    np.testing.assert_allclose(after[:4], LEVELS[:4], atol=0.02)


def test_running_coverage_is_the_share_covered() -> None:
    """What is reported is what happened, over the memory."""
    rng = np.random.default_rng(3)
    calibration, covered = lived(np.exp(0.1 * rng.normal(size=1000)))
    np.testing.assert_allclose(calibration.coverage[0], covered[:, 0].mean(axis=0), atol=1e-9)
    assert calibration.scored.tolist() == [1000, 1000, 1000]


def test_a_candidate_that_said_nothing_is_not_scored() -> None:
    """Its margin stays the prior's, and neither its coverage nor its count moves."""
    calibration, _ = lived(np.full(50, 2.0), silent=True)
    assert calibration.scored.tolist() == [50, 50, 0]
    np.testing.assert_array_equal(calibration.margin[2], conformal.fresh().margin[2])
    np.testing.assert_array_equal(calibration.alpha[2], conformal.fresh().alpha[2])


def test_few_scores_lean_on_the_prior() -> None:
    """Five equal ratios do not collapse the spread to nothing."""
    calibration, _ = lived(np.ones(5))
    assert calibration.margin[0, 3] > 0.1
    assert (np.diff(calibration.margin[0]) > 0).all()


def test_the_window_is_bounded_and_old_calibrations_stay() -> None:
    """More scores than the window keep its length; scoring changes nothing it was given."""
    calibration, _ = lived(np.linspace(0.5, 2.0, conformal.WINDOW + 20))
    assert calibration.scores.shape[1] == conformal.WINDOW
    before = calibration.scores.copy()
    conformal.scored(calibration, np.full((3, 6), 1.0), np.full((3, 6), 1.0), 1.0)
    np.testing.assert_array_equal(calibration.scores, before)


def test_trust_needs_five_hundred_targets() -> None:
    """Perfect coverage over fewer targets is not trusted, and says how many there were."""
    rng = np.random.default_rng(4)
    ratios = np.exp(0.1 * rng.normal(size=LEAST_TARGETS))
    early = judged(lived(ratios[:-1])[0], 0)
    assert not early.trusted
    assert early.reason == f"{LEAST_TARGETS - 1} of {LEAST_TARGETS} targets scored"
    assert judged(lived(ratios)[0], 0).trusted


def test_trust_needs_coverage() -> None:
    """Ratios that keep rising outrun any margin: untrusted, and the reason names the level."""
    trust = judged(lived(1.05 ** np.arange(600))[0], 0)
    assert not trust.trusted
    assert trust.reason.startswith("coverage at 0.")


def test_wape_is_error_over_actual() -> None:
    """A median that is always a fifth too low has a WAPE of a fifth."""
    calibration = conformal.fresh()
    raw = np.full((3, len(LEVELS)), 80.0)
    for _ in range(10):
        calibration = conformal.scored(calibration, raw, raw, 100.0)
    assert judged(calibration, 0).wape == pytest.approx(0.2)
