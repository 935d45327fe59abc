"""What the ablations are told of the demand: as it will be, or as it is at the moment."""

from pathlib import Path

import pytest

from controller.core.performance.work import REFERENCE_TOKENS
from simulations.cli.scenarios import SCENARIOS
from simulations.foresight import foresight
from simulations.scenario import load
from simulations.setup import Prepared, prepare

STEP_SECONDS = 1200.0


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    """Even traffic that doubles at once after twenty minutes."""
    return prepare(load(SCENARIOS / "step.yaml"), Path("/nowhere"))


def test_a_step_is_foreseen_and_told_only_as_it_happens(prepared: Prepared) -> None:
    """One cold start before the step the first knows it and the second does not."""
    origin = prepared.setup.origin_seconds
    before, after = origin + STEP_SECONDS - 120.0, origin + STEP_SECONDS + 120.0
    ahead, moment = foresight(prepared.setup), foresight(prepared.setup, ahead=False)
    assert ahead(before, after) == pytest.approx(2.0 * ahead(before, before), rel=0.05)
    assert moment(before, after) == pytest.approx(ahead(before, before), rel=0.05)
    assert moment(after, after) == pytest.approx(ahead(before, after), rel=0.05)


def test_demand_is_told_in_requests_of_the_reference_tokens(prepared: Prepared) -> None:
    """Requests of about these tokens count about one each."""
    setup = prepared.setup
    demand = setup.trace.demand(60.0)
    middle = setup.origin_seconds + 630.0
    told = foresight(setup)(middle, middle)
    assert REFERENCE_TOKENS == (1000.0, 200.0)
    assert told == pytest.approx(demand.requests[10] / 60.0, rel=0.2)
