"""Events tell what changed, once, and never more than is read; those of a real API server, too."""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.adapters.directory import Entry
from controller.adapters.kubernetes.client import Kubernetes
from controller.adapters.kubernetes.errors import AnotherWriter, Unanswered
from controller.adapters.kubernetes.events import BURST, REFILL_SECONDS, EventWriter, in_words
from controller.adapters.kubernetes.judging import Judged, judge
from controller.core.domain.decision import Reason
from controller.core.domain.policy import Mode, Pause
from controller.ports import Planned, Report, TargetNotFound
from controlplane.cluster import ControlPlane
from deciding.objects import NOW, Ports, document, entry, judged, named

TICK = 15.0
MISSING = TargetNotFound("create Deployment llama-bf16")


@dataclass
class Told:
    """A writer, the clock and the manager of replicas in the test's hands."""

    server: Ports = field(default_factory=Ports)
    now: float = NOW
    manager: str = "kubectl"
    per_cycle: int = 100

    def __post_init__(self) -> None:
        """Begin as a process that has just started."""
        self.writer = EventWriter(
            kubernetes=cast("Kubernetes", self.server),
            identity="steelyard-0_1234",
            edited_by=lambda _key, _variant: self.manager,
            per_cycle=self.per_cycle,
        )

    def cycle(self, *judgements: Judged, after: float = TICK) -> list[str]:
        """Tell, so many seconds later; returns the reasons that were posted."""
        return [event["reason"] for event in self.events(*judgements, after=after)]

    def events(self, *judgements: Judged, after: float = TICK) -> list[dict[str, Any]]:
        """Tell, so many seconds later; returns what was posted."""
        self.now += after
        before = len(self.server.created)
        asyncio.run(self.writer.tell(judgements, self.now))
        return self.server.created[before:]


@pytest.fixture
def told() -> Told:
    """Nothing is told yet."""
    return Told()


def in_mode(of: Entry, mode: Mode) -> Entry:
    """The same object in another mode."""
    return replace(of, policy=replace(of.policy, mode=mode))


def test_the_first_cycle_tells_no_transition(told: Told) -> None:
    """Whatever is wrong then, it is not known to have changed; what was scaled is."""
    assert told.cycle(judged(named(), MISSING, blind=True)) == []
    assert told.cycle(judged(named("other"), wanted=(5, 0), seen=(4, 0))) == ["ScaledUp"]


def test_a_change_of_leader_tells_no_transition(told: Told) -> None:
    """After a silence another may have led: what is so now is where it begins."""
    told.cycle(judged(named()))
    assert told.cycle(judged(named(), blind=True), after=61.0) == []
    assert told.cycle(judged(named())) == ["MetricsFresh"]


@pytest.mark.parametrize(
    ("then", "reason", "kind", "words"),
    [
        (judged(named(), MISSING), "TargetNotFound", "Warning", "AbleToScale is False: create"),
        (judged(named(), AnotherWriter("delete HPA x")), "AnotherWriter", "Warning", "delete HPA"),
        (judged(named(), blind=True), "MetricsStale", "Warning", "MetricsAvailable is False"),
        (judged(named(), attainment=0.5), "AttainmentBelowTarget", "Warning", "SloAtRisk is True"),
        (judged(named(), degraded=True), "FallbackServing", "Normal", "Degraded is True"),
    ],
    ids=["target", "writer", "metrics", "slo", "degraded"],
)
def test_a_transition_is_told_once_and_so_is_its_end(
    told: Told, then: Judged, reason: str, kind: str, words: str
) -> None:
    """With the reason of the condition, and what it says to people."""
    told.cycle(judged(named()))
    (event,) = told.events(then)
    assert (event["reason"], event["type"]) == (reason, kind)
    assert words in event["message"]
    assert told.cycle(then) == []
    (over,) = told.events(judged(named()))
    assert over["type"] == "Normal"
    assert told.cycle(judged(named())) == []


def test_another_reason_of_the_same_trouble_is_told(told: Told) -> None:
    """Something else is to be done about it."""
    told.cycle(judged(named()))
    told.cycle(judged(named(), MISSING))
    assert told.cycle(judged(named(), AnotherWriter("delete HPA x"))) == ["AnotherWriter"]


def test_what_is_not_known_is_no_news(told: Told) -> None:
    """A fallback that serves, is not seen for a while, and serves again: nothing changed."""
    told.cycle(judged(named(), degraded=True))
    assert told.cycle(judged(named(), degraded=True, blind=True)) == ["MetricsStale"]
    assert told.cycle(judged(named(), degraded=True)) == ["MetricsFresh"]


def test_a_first_forecast_is_no_news(told: Told) -> None:
    """Every object's is untrusted at first."""
    blind = judged(named(), blind=True)
    told.cycle(blind)
    planned = judged(named()).report.planned
    forecast = replace(planned.decision.forecast, trusted=False)
    seen = judged_as(replace(planned, decision=replace(planned.decision, forecast=forecast)))
    assert "ForecastUntrusted" not in told.cycle(seen)
    assert told.cycle(judged(named())) == ["ForecastTrusted"]


def judged_as(planned: Planned) -> Judged:
    """Judge a decision of the sample's object."""
    return judge(Report(planned=planned, problem=None), named(), None, "")


def test_what_was_scaled_is_told_by_variant_with_why(told: Told) -> None:
    """The binding reason, the last step that changed anything, and what it costs now."""
    one = judged(named(), wanted=(6, 0), seen=(4, 1), steps=[Reason.REACTIVE_FLOOR])
    up, down = told.events(one)
    assert (up["reason"], down["reason"]) == ("ScaledUp", "ScaledDown")
    assert up["message"] == "bf16 4 -> 6: cheapest within budgets; reactive floor; 24 an hour"
    assert down["message"].startswith("fp8 1 -> 0: ")


@pytest.mark.parametrize("mode", [Mode.RECOMMEND, Mode.OFF])
def test_of_what_is_not_carried_out_no_write_is_told(told: Told, mode: Mode) -> None:
    """No scaling, no edit, and no problem of the targets; metrics are told of."""
    of = in_mode(named(), mode)
    told.cycle(judged(of, wanted=(4, 0)))
    assert told.cycle(judged(of, wanted=(6, 0), seen=(3, 0))) == []
    assert told.cycle(judged(of, MISSING)) == []
    assert told.cycle(judged(of, blind=True)) == ["MetricsStale"]


def test_a_problem_is_told_once_it_matters(told: Told) -> None:
    """The object is switched to Auto while its target is not there."""
    told.cycle(judged(in_mode(named(), Mode.RECOMMEND), MISSING))
    assert told.cycle(judged(named(), MISSING)) == ["TargetNotFound"]


def test_what_failed_is_not_told_as_scaled(told: Told) -> None:
    """The problem is."""
    told.cycle(judged(named()))
    failed = judged(named(), Unanswered("no answer"), wanted=(6, 0), seen=(4, 0))
    assert told.cycle(failed) == ["WriteFailed"]


def test_replicas_that_somebody_set_are_told_with_who_did(told: Told) -> None:
    """What was carried out is not there any more; how to keep one's own is said."""
    told.cycle(judged(named(), wanted=(6, 0), seen=(4, 0)))
    edited, _ = told.events(judged(named(), wanted=(6, 0), seen=(9, 0)))
    assert (edited["reason"], edited["type"]) == ("EditedByHand", "Warning")
    assert edited["message"].startswith("bf16 6 -> 9 by kubectl; ")
    assert "kubectl annotate md llama steelyard.dev/paused=true" in edited["message"]


def test_an_edit_by_nobody_known_is_told(told: Told) -> None:
    """Managers may be stripped."""
    told.manager = ""
    told.cycle(judged(named()))
    edited, _ = told.events(judged(named(), wanted=(4, 0), seen=(9, 0)))
    assert "by somebody else" in edited["message"]


def test_while_paused_an_edit_is_what_was_asked_for(told: Told) -> None:
    """Nothing was set by us."""
    of = named()
    paused = replace(of, policy=replace(of.policy, pause=Pause.ALL))
    told.cycle(judged(paused, wanted=(4, 0)))
    assert told.cycle(judged(paused, wanted=(9, 0))) == []


def test_a_target_that_was_gone_is_no_edit(told: Told) -> None:
    """It is not there, then it is with the replicas of its manifest."""
    told.cycle(judged(named()))
    gone = judged(named(), MISSING, wanted=(4, 0), seen=(0, 0))
    assert told.cycle(gone) == ["TargetNotFound"]
    assert told.cycle(judged(named(), wanted=(1, 0))) == ["TargetsScalable"]


def test_what_another_leader_set_is_no_edit(told: Told) -> None:
    """It led meanwhile, and scaled."""
    told.cycle(judged(named(), wanted=(4, 0)))
    assert told.cycle(judged(named(), wanted=(9, 0)), after=61.0) == []


def test_other_variants_are_compared_with_none_of_before(told: Told) -> None:
    """A variant was renamed: replicas of the old one are not an edit of the new one's."""
    told.cycle(judged(named()))
    of = named()
    first, *others = of.policy.variants
    other = replace(of.policy, variants=(replace(first, name="new"), *others))
    assert told.cycle(judged(replace(of, policy=other), wanted=(1, 0))) == []


def test_another_object_of_the_same_name_begins_anew(told: Told) -> None:
    """Created again between two cycles."""
    told.cycle(judged(named(uid="old")))
    assert told.cycle(judged(named(uid="new"), blind=True, wanted=(1, 0))) == []


def test_it_is_limited_by_object(told: Told) -> None:
    """A flapping condition: 25 at once, then one each five minutes; others have their own."""
    flaps = [judged(named(), blind=i % 2 == 1) for i in range(200)]
    counts = [len(told.cycle(one, judged(named("calm")))) for one in flaps]
    hours = 200 * TICK / REFILL_SECONDS
    assert BURST < sum(counts) <= BURST + hours
    assert told.cycle(flaps[-1], judged(named("calm"), blind=True))[-1:] == ["MetricsStale"]


@given(storms=st.lists(st.tuples(st.integers(0, 300), st.integers(1, 60)), max_size=6))
@settings(deadline=None, max_examples=40)
def test_in_any_time_it_is_a_burst_and_its_share_of_that_time(
    storms: Sequence[tuple[int, int]],
) -> None:
    """However long it was calm before: 25, and one each five minutes, from any Event to another."""
    ticks = [blind for calm, flaps in storms for blind in [False] * calm + [True, False] * flaps]
    at = asyncio.run(posted_at(ticks))
    for i, first in enumerate(at):
        for n, last in enumerate(at[i:], start=1):
            assert n <= BURST + (last - first) / REFILL_SECONDS + 1e-9


async def posted_at(ticks: Sequence[bool]) -> list[float]:
    """When each Event was posted, of an object that is blind or not in each cycle."""
    told, times = Told(), []
    either = {blind: judged(named(), blind=blind) for blind in (False, True)}
    for blind in ticks:
        told.now += TICK
        await told.writer.tell([either[blind]], told.now)
        times += [told.now] * (len(told.server.created) - len(times))
    return times


def test_a_long_message_is_cut(told: Told) -> None:
    """The API server takes so much at most."""
    told.cycle(judged(named()))
    (event,) = told.events(judged(named(), TargetNotFound("x" * 2000)))
    assert len(event["message"]) == 1024


def test_what_could_not_be_told_is_told_later_if_it_is_still_so(told: Told) -> None:
    """After a storm the last Event is how things are."""
    for i in range(100):
        told.cycle(judged(named(), blind=i % 2 == 1))
    calm = [told.cycle(judged(named())) for _ in range(int(REFILL_SECONDS / TICK) + 1)]
    last = [event["reason"] for event in told.server.created][-1]
    assert last == "MetricsFresh"
    assert sum(map(len, calm)) <= 2


def test_no_more_than_so_many_a_cycle() -> None:
    """Metrics fail for all at once: all are told, ten a cycle."""
    told = Told(per_cycle=10)
    of = [named(f"llama-{i}") for i in range(25)]
    told.cycle(*(judged(one) for one in of))
    blind = [judged(one, blind=True) for one in of]
    counts = [told.events(*blind) for _ in range(4)]
    assert [len(each) for each in counts] == [10, 10, 5, 0]
    names = Counter(event["involvedObject"]["name"] for each in counts for event in each)
    assert set(names.values()) == {1}
    assert len(names) == 25


def test_what_cannot_be_posted_is_logged_once_a_minute(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    """It is dropped, and no object's failure."""
    caplog.set_level(logging.WARNING)
    told.server.refuses = lambda _: Unanswered("no answer")
    for i in range(9):
        told.cycle(judged(named(), blind=i % 2 == 1))
    assert [record.getMessage() for record in caplog.records] == [
        "an Event was not posted: no answer"
    ] * 2


def test_what_is_gone_is_forgotten(told: Told) -> None:
    """Names come and go for as long as the operator runs."""
    for i in range(300):
        told.cycle(judged(named(f"llama-{i}")), after=60.0)
    assert len(told.writer._before) <= 61


def test_reasons_are_said_in_words() -> None:
    """As in a sentence, for every reason there is."""
    assert in_words("GpuShortage") == "GPU shortage"
    assert in_words("MaxGpus") == "max GPUs"
    assert all(in_words(reason).lower().replace(" ", "") == reason.lower() for reason in Reason)


STATES = st.sampled_from(
    [
        judged(named(), problem, blind=blind, attainment=attainment)
        for problem in (None, MISSING)
        for blind in (False, True)
        for attainment in (0.5, 0.999)
    ]
)


@given(states=st.lists(STATES, min_size=1, max_size=60))
@settings(deadline=None, max_examples=50)
def test_the_events_add_up_to_how_things_are(states: Sequence[Judged]) -> None:
    """Who reads all of them from the start on knows every condition, once there was time."""
    told = Told()
    known = {f.type.value: f.status.value for f in states[0].findings}
    told.cycle(states[0])
    for one in [*states[1:], *[states[-1]] * 80]:
        for event in told.events(one):
            kind, _, status = event["message"].split(":")[0].split(" ")
            assert known[kind] != status or event["type"] == "Warning"
            known[kind] = status
    for found in states[-1].findings:
        if found.type.value in ("MetricsAvailable", "AbleToScale", "SloAtRisk"):
            assert known[found.type.value] == found.status.value


@pytest.mark.cluster
def test_kubectl_describe_shows_them(
    kubernetes: Kubernetes, control_plane: ControlPlane, namespace: str
) -> None:
    """Of an object with a name as long as names may be; found by its uid."""
    name = "llama-" + "x" * 193 + "-" * 3 + "y" * 51
    control_plane.apply(document(name, namespace))
    uid = control_plane.kubectl(
        "get", "md", name, "-n", namespace, "-o", "jsonpath={.metadata.uid}"
    )
    of = entry(document(name, namespace, uid=uid, generation=1))
    told = Told(server=cast("Ports", kubernetes))
    writer = told.writer

    def cycle(one: Judged) -> None:
        told.now += TICK
        asyncio.run(writer.tell([one], told.now))

    cycle(judged(of, wanted=(6, 0), seen=(4, 0)))
    cycle(judged(of, MISSING, wanted=(6, 0)))
    shown = control_plane.kubectl("describe", "md", name, "-n", namespace)
    events = shown[shown.index("Events:") :]
    rows = [line.split(maxsplit=4) for line in events.splitlines()[3:]]
    assert [(kind, reason, by) for kind, reason, _, by, _ in rows] == [
        ("Normal", "ScaledUp", "steelyard"),
        ("Warning", "TargetNotFound", "steelyard"),
    ]
    assert "bf16 4 -> 6: cheapest within budgets" in events
    assert told.writer.identity in control_plane.kubectl(
        "get", "events", "-n", namespace, "-o", "jsonpath={.items[*].reportingInstance}"
    )
