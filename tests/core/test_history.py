"""History is bounded, and survives being written down."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from controller.core.domain.decision import Allocation, Decision
from controller.core.domain.observation import (
    Measured,
    Missing,
    MissingReason,
    Observation,
    Outcomes,
    PastTraffic,
    Traffic,
)
from controller.core.domain.policy import (
    Behavior,
    Policy,
    RatePolicy,
    ScalingRules,
    SelectPolicy,
)
from controller.core.domain.variant import Variant
from controller.core.history import COLD_STARTS_KEPT, History
from controller.core.planner import SteelyardPlanner
from controller.core.serialization import (
    InvalidHistory,
    decoded,
    encoded,
    from_json,
    to_json,
)

NOW = 1_743_465_600.0
TICK = 15.0
PLANNER = SteelyardPlanner()
MakePolicy: TypeAlias = Callable[..., Policy]
MakeVariant: TypeAlias = Callable[..., Variant]
MakeObservation: TypeAlias = Callable[..., Observation]
Run: TypeAlias = Callable[[History, range], tuple[list[Decision], History]]


def past_days(days: int) -> PastTraffic:
    """Days by the minute until NOW, with a daily cycle and noise."""
    minutes = np.arange(days * 1440)
    rates = 60.0 - 25.0 * np.cos(2.0 * np.pi * minutes / 1440.0)
    return PastTraffic(
        from_seconds=NOW - 86_400.0 * days,
        step_seconds=60.0,
        requests=np.random.default_rng(3).poisson(60.0 * rates).astype(np.float64),
        prompt_tokens_mean=np.full(len(minutes), 1155.0),
        output_tokens_mean=np.full(len(minutes), 211.0),
    )


@pytest.fixture
def policy(
    make_policy: MakePolicy, make_variant: MakeVariant, make_fallback: MakeVariant
) -> Policy:
    """A policy that keeps all that a history can hold: windows, rate periods, a fallback."""
    up = ScalingRules(
        stabilization_window_seconds=60,
        select_policy=SelectPolicy.MAX,
        policies=(RatePolicy(percent=False, value=8, period_seconds=120),),
    )
    down = replace(up, stabilization_window_seconds=300)
    return make_policy(
        make_variant(max_replicas=8),
        make_fallback(max_replicas=4),
        behavior=Behavior(scale_up=up, scale_down=down),
    )


@pytest.fixture
def run(policy: Policy, make_observation: MakeObservation) -> Run:
    """Decide over a range of ticks that has gaps, misses, cold starts and gauges."""

    def observed(tick: int, at: Allocation) -> Observation:
        now = NOW + tick * TICK
        rate = 60.0 + 40.0 * np.sin(tick / 50.0) + 10.0 * np.sin(tick * 7.0)
        seen = make_observation(now, at, None if tick % 97 < 5 else float(rate))
        running = Measured(40.0 * at[0], now)
        primary = replace(
            seen.variants[0],
            running=running,
            waiting=Measured(0.0, now),
            ready_after_seconds=(100.0 + tick % 60,) if tick % 13 == 0 else (),
        )
        outcomes = Missing(MissingReason.ABSENT)
        if isinstance(seen.traffic, Traffic):
            outcomes = Outcomes(
                from_seconds=seen.traffic.from_seconds,
                to_seconds=seen.traffic.to_seconds,
                ended=seen.traffic.requests,
                failed=0.0,
                bad_ttft=0.01 * (tick % 3) * seen.traffic.requests,
                bad_tpot=0.0,
                degraded=0.0,
            )
        return replace(seen, variants=(primary, seen.variants[1]), outcomes=outcomes)

    def go(history: History, ticks: range) -> tuple[list[Decision], History]:
        decisions: list[Decision] = []
        at: Allocation = (4, 0)
        for tick in ticks:
            now = NOW + tick * TICK
            if 4000 <= tick % 10_000 < 5500:  # six hours without a cycle
                continue
            decision, history = PLANNER.plan(policy, observed(tick, at), history, now)
            at = decision.allocation
            decisions.append(decision)
        return decisions, history

    return go


def sizes(value: Any, where: str = "history") -> dict[str, int]:
    """Number of items of every tuple and array inside a history."""
    found: dict[str, int] = {}
    if isinstance(value, np.ndarray):
        found[where] = value.size
    elif isinstance(value, tuple):
        found[where] = len(value)
        for at, item in enumerate(value):
            found |= sizes(item, f"{where}[{at}]")
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            found |= sizes(getattr(value, name), f"{where}.{name}")
    return found


def test_history_is_bounded(policy: Policy, run: Run) -> None:
    """After two weeks of past, 11,000 ticks with gaps make nothing larger than its bound."""
    _, first = run(PLANNER.initial(policy, past_days(15)), range(8000))
    _, last = run(first, range(8000, 11_000))
    before, after = sizes(first), sizes(last)
    window_ticks = 300 // int(TICK) + 1
    assert len(last.recommended) <= window_ticks
    assert len(last.changes) <= 2 * window_ticks
    assert all(len(kept) <= COLD_STARTS_KEPT for kept in last.cold_starts)
    # By tick 8,000 all is full: two hours of windows, a day of scores, twelve of recorded minutes.
    assert sum(after.values()) <= 1.05 * sum(before.values())
    assert len(to_json(last)) <= 1.05 * len(to_json(first))
    assert len(to_json(last)) < 2_000_000


@pytest.mark.parametrize("days", [None, 2])
def test_planning_goes_on_identically_after_a_round_trip(
    policy: Policy, run: Run, days: int | None
) -> None:
    """A history written down and read again gives the same decisions, and the same text."""
    past = None if days is None else past_days(days)
    _, history = run(PLANNER.initial(policy, past), range(1, 150))
    text = to_json(history)
    decisions, kept = run(history, range(150, 260))
    again, restored = run(from_json(text), range(150, 260))
    assert decisions == again
    assert to_json(kept) == to_json(restored)
    assert to_json(from_json(text)) == text


def test_the_first_history_survives(policy: Policy) -> None:
    """A history in which nothing is known yet is written and read like any other."""
    text = to_json(PLANNER.initial(policy, None))
    assert to_json(from_json(text)) == text


def test_the_text_is_strict_json(policy: Policy, run: Run) -> None:
    """Not-a-number and infinities are written as strings, since JSON has none."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    _, history = run(PLANNER.initial(policy, None), range(1, 30))
    json.loads(to_json(history), parse_constant=refuse)


def changed(text: str, *path: str, to: Any) -> str:
    """The document with one place changed."""
    document = json.loads(text)
    place = document
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = to
    return json.dumps(document)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("kind",), "other", "no document of kind"),
        (("version",), 99, "version: 99 where 1 was expected"),
        (("history",), [], "history: dict expected"),
        (("history", "ledger"), {"ended": 1.0}, "history.ledger: fields missing"),
        (("history", "ledger", "missed"), "many", "history.ledger.missed: a number expected"),
        (("history", "ledger", "missed"), True, "history.ledger.missed: a number expected"),
        (("history", "cold_starts"), [["x"]], r"history.cold_starts\[0\]\[0\]: a number"),
        (("history", "recommended"), [[1.0]], r"history.recommended\[0\]: 2 values expected"),
        (("history", "forecast", "series", "fine"), 3, "series.fine: dict expected"),
        (
            ("history", "forecast", "series", "fine"),
            {"shape": [2, 2], "base64": "AAAA"},
            "series.fine: no array",
        ),
        (("history", "forecast", "series", "first_minute"), 1.5, "first_minute: int expected"),
    ],
)
def test_a_wrong_document_names_the_field(
    policy: Policy, path: tuple[str, ...], value: Any, message: str
) -> None:
    """What is no history of this version is refused with the field and what to do."""
    text = changed(to_json(PLANNER.initial(policy, None)), *path, to=value)
    with pytest.raises(InvalidHistory, match=message) as caught:
        from_json(text)
    assert "start from a new history" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"history"', "3"])
def test_what_is_no_document_is_refused(text: str) -> None:
    """A truncated or foreign file is a clear error."""
    with pytest.raises(InvalidHistory, match="start from a new history"):
        from_json(text)


class Colour(StrEnum):
    """An enum of this test."""

    RED = "Red"
    BLUE = "Blue"


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """One field of every kind a history may have."""

    number: float
    count: int
    flag: bool
    text: str
    colour: Colour
    maybe: float | None
    pairs: tuple[tuple[float, int], ...]
    wide: NDArray[np.float64]
    narrow: NDArray[np.float32]
    whole: NDArray[np.int64]


numbers = st.floats(allow_nan=True, allow_infinity=True)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    number=numbers,
    maybe=st.none() | numbers,
    pairs=st.lists(st.tuples(numbers, st.integers(-(2**63), 2**63)), max_size=4),
    values=st.lists(st.floats(width=32, allow_nan=True), max_size=6),
    colour=st.sampled_from(Colour),
)
def test_every_kind_of_value_comes_back_bit_for_bit(
    number: float,
    maybe: float | None,
    pairs: list[tuple[float, int]],
    values: list[float],
    colour: Colour,
) -> None:
    """Floats of any kind, optional ones, nested tuples, enums and arrays of three types."""
    held = Held(
        number=number,
        count=len(values),
        flag=bool(values),
        text="é\n",
        colour=colour,
        maybe=maybe,
        pairs=tuple(pairs),
        wide=np.array(values).reshape(1, -1),
        narrow=np.array(values, dtype=np.float64).astype(np.float32),
        whole=np.arange(len(values)),
    )
    back = decoded(Held, json.loads(json.dumps(encoded(Held, held))), "held")
    assert repr(back) == repr(held)
    for name in ("wide", "narrow", "whole"):
        old, new = getattr(held, name), getattr(back, name)
        assert (old.dtype, old.shape, old.tobytes()) == (new.dtype, new.shape, new.tobytes())


def test_a_type_without_a_form_is_refused() -> None:
    """A field whose type says not how to write it is the author's error, at once."""
    with pytest.raises(TypeError, match="has no JSON form"):
        encoded(dict[str, int], {"a": 1})
    with pytest.raises(TypeError, match="does not say which"):
        encoded(int | str, 1)
