"""Traffic made from a spec: its shape, its seed, and what is said of a wrong spec."""

from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from simulations.traces.errors import InvalidTrace
from simulations.traces.opening import open_trace
from simulations.traces.synthetic import SyntheticSpec

DAY = 86_400.0


def rate(hours: float, *components: dict[str, Any], **more: Any) -> NDArray[np.float64]:
    """Requests/s per minute of a trace at level 10."""
    spec = SyntheticSpec.model_validate(
        {
            "durationSeconds": hours * 3_600.0,
            "levelRequestsPerSecond": 10.0,
            "components": components,
            **more,
        }
    )
    return spec.trace().demand(60.0).requests / 60.0


def test_without_components_the_rate_is_the_level() -> None:
    """Nothing is added that was not asked for."""
    np.testing.assert_allclose(rate(1.0), 10.0)


def test_a_diurnal_cycle_peaks_at_its_hour_and_is_lower_at_the_weekend() -> None:
    """Monday peaks at 15 h at (1 + swing); Saturday has the weekend's level."""
    minutes = rate(
        7 * 24.0,
        {"kind": "Diurnal", "swing": 0.4, "peakHour": 15.0, "weekendFactor": 0.5},
        startDay="Monday",
    )
    monday, saturday = minutes[:1440], minutes[5 * 1440 : 6 * 1440]
    assert abs(int(np.argmax(monday)) - 15 * 60) <= 1
    assert monday.max() == pytest.approx(14.0, rel=1e-3)
    assert monday[3 * 60] == pytest.approx(6.0, rel=0.01)
    assert saturday.max() == pytest.approx(7.0, rel=1e-3)


def test_bursts_recur_at_their_minutes() -> None:
    """Every hour has a burst of three times the level at :02 and :32, eight minutes long."""
    burst = {"kind": "RecurringBursts", "heightSigma": 0.0, "minutes": [2, 32], "riseSeconds": 0}
    hours = rate(6.0, burst).reshape(6, 60)
    expected = np.full(60, 10.0)
    expected[2:10] = expected[32:40] = 30.0
    np.testing.assert_allclose(hours, np.tile(expected, (6, 1)))
    later = rate(6.0, burst, startHour=0.5).reshape(6, 60)
    np.testing.assert_allclose(later, np.roll(hours, 30, axis=1))


def test_random_bursts_come_as_often_as_asked() -> None:
    """About 24 a day at twice the level, at times of the seed's choosing."""
    burst = {"kind": "RandomBursts", "perDay": 24, "heightSigma": 0.0, "lengthSeconds": 120}
    minutes = rate(24.0 * 20, burst)
    rises = int(((minutes[1:] > 15.0) & (minutes[:-1] <= 15.0)).sum())
    assert 0.7 * 480 < rises < 1.1 * 480
    assert minutes.min() == pytest.approx(10.0)


def test_steps_ramps_flash_crowds_and_on_off_have_their_shape() -> None:
    """Each factor is what its fields say, at the minutes they say."""
    step = rate(1.0, {"kind": "Step", "atSeconds": 600, "factorAfter": 3, "untilSeconds": 1200})
    np.testing.assert_allclose(step[[9, 10, 19, 20]], [10.0, 30.0, 30.0, 10.0])
    ramp = rate(1.0, {"kind": "Ramp", "fromSeconds": 600, "toSeconds": 1800, "factorAfter": 2})
    np.testing.assert_allclose(ramp[[9, 20, 40]], [10.0, 15.25, 20.0])
    flash = rate(
        2.0,
        {
            "kind": "FlashCrowd",
            "atSeconds": 600,
            "height": 5,
            "riseSeconds": 120,
            "decaySeconds": 1200,
        },
    )
    assert int(np.argmax(flash)) == 12
    assert flash.max() == pytest.approx(50.0, rel=0.03)
    assert flash[32] == pytest.approx(10.0 + 40.0 / np.e, rel=0.03)
    on_off = rate(1.0, {"kind": "OnOff", "onSeconds": 600, "offSeconds": 300, "offFactor": 0.1})
    np.testing.assert_allclose(on_off[[0, 9, 10, 14, 15]], [10.0, 10.0, 1.0, 1.0, 10.0])


def test_wandering_keeps_the_mean_level_and_has_the_asked_spread() -> None:
    """The walk is of mean 1 and forgets within its memory."""
    minutes = rate(24.0 * 60, {"kind": "Wander", "sigma": 0.2, "memorySeconds": 600})
    assert minutes.mean() == pytest.approx(10.0, rel=0.02)
    assert np.log(minutes).std() == pytest.approx(0.2, rel=0.05)
    log = np.log(minutes) - np.log(minutes).mean()
    kept = float((log[10:] * log[:-10]).mean() / log.var())
    assert kept == pytest.approx(np.exp(-1.0), abs=0.05)


def test_a_token_shift_changes_the_means_when_it_says() -> None:
    """Before, half-way and after."""
    spec = SyntheticSpec.model_validate(
        {
            "durationSeconds": 3_600,
            "levelRequestsPerSecond": 50,
            "tokens": {
                "promptTokensMean": 200,
                "outputTokensMean": 100,
                "shifts": [
                    {
                        "atSeconds": 1_200,
                        "overSeconds": 1_200,
                        "promptTokensMean": 1_000,
                        "outputTokensMean": 20,
                    }
                ],
            },
        }
    )
    demand = spec.trace().demand(60.0)
    np.testing.assert_allclose(demand.prompt_tokens_mean[[0, 45]], [200.0, 1_000.0])
    assert demand.output_tokens_mean[30] == pytest.approx(60.0, rel=0.05)
    late = spec.trace().chunk(5)
    assert late.prompt_tokens.mean() == pytest.approx(1_000.0, rel=0.05)


def test_a_spec_of_yaml_gives_the_same_arrivals_every_time_and_others_for_another_seed() -> None:
    """The seed is all the randomness there is."""
    document = yaml.safe_load("""
        name: a week
        durationSeconds: 604800
        levelRequestsPerSecond: 2
        seed: 4
        localDispersion: 1.5
        components:
        - {kind: Diurnal}
        - {kind: Wander}
        - {kind: RandomBursts, perDay: 3}
    """)
    first, again = open_trace(document), open_trace(document)
    assert first.name == "a week"
    np.testing.assert_array_equal(first.demand(10.0).requests, again.demand(10.0).requests)
    np.testing.assert_array_equal(first.chunk(7).seconds, again.chunk(7).seconds)
    other = open_trace({**document, "seed": 5})
    assert not np.allclose(first.demand(10.0).requests, other.demand(10.0).requests)


def test_adding_a_component_leaves_the_draws_of_those_before_it() -> None:
    """Each component has its own stream."""
    wander = {"kind": "Wander"}
    alone, more = rate(10.0, wander), rate(10.0, wander, {"kind": "OnOff", **ON_OFF})
    np.testing.assert_allclose(more, alone)


ON_OFF = {"onSeconds": 60, "offSeconds": 60, "offFactor": 1.0}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"levelRequestsPerSecond": 0}, "levelRequestsPerSecond: Input should be greater than 0"),
        ({"level": 5}, "level: Extra inputs are not permitted"),
        ({"components": [{"kind": "Storm"}]}, "components.0: .*does not match any"),
        ({"components": [{"kind": "Step", "atSeconds": 5}]}, "components.0.Step.factorAfter"),
        (
            {"components": [{"kind": "Ramp", "fromSeconds": 5, "toSeconds": 5, "factorAfter": 2}]},
            "toSeconds must be after fromSeconds",
        ),
    ],
)
def test_a_wrong_spec_is_refused_with_its_field(wrong: dict[str, Any], message: str) -> None:
    """The error is one line per field."""
    with pytest.raises(InvalidTrace, match=message):
        open_trace({"durationSeconds": 60, "levelRequestsPerSecond": 1, **wrong})
