"""Statuses are written when something changed, seldom for figures alone, and never for noise."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import cycle, islice, pairwise
from typing import Any, cast
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.adapters.directory import Entry
from controller.adapters.kubernetes.client import Kubernetes
from controller.adapters.kubernetes.errors import NotFound, Refused, Unanswered
from controller.adapters.kubernetes.judging import Judged
from controller.adapters.kubernetes.status import HOURLY, REFRESH_SECONDS, StatusWriter
from controller.api.conversion.status import to_status
from controller.api.status import STATUS_BYTES, Status, read_status
from controller.core.domain.decision import Reason
from controller.ports import Conflict, PortError
from controlplane.cluster import ControlPlane
from deciding.objects import NOW, Ports, document, entry, judged, named

TICK = 15.0
LONGEST_NAME = 32
LATEST_SECONDS = 1.2 * REFRESH_SECONDS

Document = dict[str, Any]


class Told:
    """A writer whose clock the test has, and the statuses it wrote."""

    def __init__(self, writes_per_cycle: int = 1000) -> None:
        self.server = Ports()
        self.writes_per_cycle = writes_per_cycle
        self.now = NOW
        self.restart()

    def restart(self) -> None:
        """Another process takes over, which remembers nothing."""
        self.writer = StatusWriter(
            kubernetes=cast("Kubernetes", self.server), writes_per_cycle=self.writes_per_cycle
        )

    def cycle(self, *judgements: Judged, after: float = TICK) -> list[str]:
        """Tell, so many seconds later; returns the names of what was written."""
        return asyncio.run(self.next(*judgements, after=after))

    async def next(self, *judgements: Judged, after: float = TICK) -> list[str]:
        """The same, in a loop of the caller's: making one takes longer than a cycle."""
        self.now += after
        before = len(self.server.patches)
        self.outcomes = await self.writer.tell(judgements, self.now)
        return [path.split("/")[-2] for path, _ in self.server.patches[before:]]

    @property
    def written(self) -> Status:
        """The status that was written last."""
        _, operations = self.server.patches[-1]
        return read_status({"status": operations[-1]["value"]})


@pytest.fixture
def told() -> Told:
    """Nothing is written yet."""
    return Told()


def carrying(one: Judged, status: Status) -> Judged:
    """The same, once the watch has shown this status of the object."""
    return replace(one, entry=replace(one.entry, status=status))


def test_what_has_no_status_gets_one_at_once(told: Told) -> None:
    """In the first cycle; the same again is not written."""
    assert told.cycle(judged(named())) == ["llama"]
    assert told.written.observed_generation == 1
    assert told.cycle(judged(named())) == []


@pytest.mark.parametrize(
    "then",
    [
        judged(named(), wanted=(5, 0)),
        judged(named(), blind=True),
        judged(named(), degraded=True),
        judged(named(), attainment=0.5),
        judged(named(), Conflict("the target changed")),
        judged(named(generation=2)),
    ],
    ids=["decision", "metrics", "degraded", "attainment", "target", "generation"],
)
def test_a_change_is_written_at_once(told: Told, then: Judged) -> None:
    """Of the decision, of a condition, of the generation: in the cycle in which it is seen."""
    told.cycle(judged(named()))
    assert told.cycle(then) == ["llama"]
    assert told.cycle(then) == []


def test_another_reason_of_the_same_answer_is_written_at_once(told: Told) -> None:
    """Both are AbleToScale=False: for another reason something else is to be done."""
    told.cycle(judged(named(), Conflict("the target changed")))
    other = judged(named(), PortError("no answer"))
    assert told.cycle(other) == ["llama"]
    able = next(one for one in told.written.conditions if one.type == "AbleToScale")
    assert (able.status, able.reason, able.message) == ("False", "WriteFailed", "no answer")


def test_the_last_replica_that_becomes_ready_is_written_at_once(told: Told) -> None:
    """Who watches a fleet come up sees each decision and its end, not every replica."""
    told.cycle(judged(named(), wanted=(4, 0), ready=(1, 0)))
    assert told.cycle(judged(named(), wanted=(4, 0), ready=(3, 0))) == []
    assert told.cycle(judged(named(), wanted=(4, 0), ready=(4, 0))) == ["llama"]
    assert told.written.variants[0].ready == 4


def test_a_condition_tells_since_when_it_is_so(told: Told) -> None:
    """Its time is that of the write before, also after a restart, until its answer changes."""
    told.cycle(judged(named()))
    first = told.written
    told.cycle(judged(named(), wanted=(5, 0)))
    assert told.written.conditions == first.conditions
    told.restart()
    told.cycle(carrying(judged(named(), blind=True), first))
    was = {one.type: one for one in first.conditions}
    for one in told.written.conditions:
        before = was[one.type]
        assert (one.last_transition_time == before.last_transition_time) is (
            one.status == before.status
        )


@given(uid=st.uuids())
@settings(deadline=None, max_examples=20)
def test_figures_are_brought_up_to_date_every_five_to_six_minutes(uid: object) -> None:
    """Whatever they do meanwhile; each object in its own time, which stays."""
    told = Told()
    of = named(uid=str(uid))
    told.cycle(judged(of))
    shares = [0.991 + 0.0001 * i for i in range(80)]
    written = [told.now for share in shares if told.cycle(judged(of, attainment=share))]
    pauses = {later - before for before, later in pairwise(written)}
    assert len(written) >= 3
    assert all(REFRESH_SECONDS <= pause < LATEST_SECONDS + TICK for pause in pauses)
    assert len(pauses) == 1


def test_figures_leave_room_for_conditions(told: Told) -> None:
    """Refreshed as often as any object for hours, the next three changes are told at once."""
    soonest = min((f"uid-{i}" for i in range(1000)), key=lambda uid: crc32(uid.encode()) % 1000)
    of = named(uid=soonest)
    for i in range(int(3 * 3600 / TICK)):
        told.cycle(judged(of, attainment=0.991 + 1e-4 * (i % 80)))
    changes = [judged(of, blind=True), judged(of), judged(of, degraded=True)]
    assert [told.cycle(one) for one in changes] == [["llama"]] * 3


def test_objects_are_not_refreshed_in_step(told: Told) -> None:
    """Two hundred that were written at once are spread over a minute."""
    many = [judged(named(f"llama-{i}"), wanted=(3, 0)) for i in range(200)]
    assert len(told.cycle(*many)) == 200
    noisy = [judged(one.entry, wanted=(3, 0), attainment=0.9977) for one in many]
    counts = [len(told.cycle(*noisy)) for _ in range(int(LATEST_SECONDS / TICK) + 1)]
    assert sum(counts) == 200
    assert max(counts) < 100


def test_what_is_so_already_is_not_refreshed(told: Told) -> None:
    """Rounded, the figures are the same: for hours nothing is written."""
    one = judged(named(), attainment=0.99512)
    told.cycle(one)
    shown = carrying(judged(named(), attainment=0.99513), told.written)
    assert [told.cycle(shown) for _ in range(500)] == [[]] * 500


def test_what_somebody_else_wrote_over_is_put_right_with_the_next_refresh(told: Told) -> None:
    """The object carries another status than ours."""
    one = judged(named())
    told.cycle(one)
    ours = told.written
    spoiled = carrying(one, Status(primary="9/9"))
    names = [told.cycle(spoiled) for _ in range(int(LATEST_SECONDS / TICK) + 1)]
    assert names.count(["llama"]) == 1
    assert told.written == ours


@cache
def judgement(wanted: int, blind: bool, degraded: bool, attainment: float) -> Judged:  # noqa: FBT001 - drawn by hypothesis
    """One of the few hundred that a property draws."""
    return judged(
        named(), wanted=(wanted, 0), blind=blind, degraded=degraded, attainment=attainment
    )


STRETCHES = st.lists(
    st.tuples(
        st.integers(1, 12),
        st.builds(
            judgement,
            st.integers(1, 3),
            st.booleans(),
            st.booleans(),
            st.sampled_from([0.98, 0.991, 0.992, 0.993]),
        ),
        st.booleans(),
    ),
    min_size=1,
    max_size=30,
)


@given(stretches=STRETCHES)
@settings(deadline=None, max_examples=15)
def test_twelve_an_hour_and_one_for_each_decision(
    stretches: Sequence[tuple[int, Judged, bool]],
) -> None:
    """Three hours of flips, refreshes and failures: in any hour no more; what is decided is told.

    Conditions and figures may be late once the twelve are spent, the replicas never are.
    """
    asyncio.run(three_hours(stretches))


async def three_hours(stretches: Sequence[tuple[int, Judged, bool]]) -> None:
    """What was judged, for how many ticks, and whether the API server answers meanwhile."""
    told = Told()
    ticks = cycle([stretch[1:] for stretch in stretches for _ in range(stretch[0])])
    status: Status | None = None
    others: list[float] = []
    decided = decisions = 0
    was: tuple[int, ...] = ()
    for one, answers in islice(ticks, int(3 * 3600 / TICK)):
        allocation = one.report.planned.decision.allocation
        decisions += allocation != was
        was = allocation
        told.server.refuses = lambda _, up=answers: None if up else Unanswered("down")
        shown = replace(one, entry=replace(one.entry, status=status))
        if await told.next(shown):
            before, status = status, told.written
            if desired(status) == desired(before):
                others.append(told.now)
            else:
                decided += 1
        in_the_hour = sum(told.now - at < 3600.0 for at in others)
        assert in_the_hour <= HOURLY
        if answers:
            assert desired(status) == allocation
            if in_the_hour < HOURLY:
                assert said(status) == [(f.status, f.reason) for f in one.findings]
    assert decided <= decisions


def desired(status: Status | None) -> tuple[int, ...]:
    """The replicas that a status tells."""
    return tuple(variant.desired for variant in status.variants) if status else ()


def said(status: Status | None) -> list[tuple[str, str]]:
    """Answer and reason of every condition that a status tells."""
    return [(one.status, one.reason) for one in status.conditions] if status else []


def test_after_a_restart_nothing_is_written_that_is_so_already(told: Told) -> None:
    """A new process knows what the objects carry; figures are brought up to date later."""
    many = [judged(named(f"llama-{i}")) for i in range(30)]
    told.cycle(*many)
    shown = [carrying(one, told.written) for one in many]
    noisy = [replace(judged(one.entry, attainment=0.9977)) for one in shown]
    told.restart()
    assert told.cycle(*noisy) == []
    later = [name for _ in range(5) for name in told.cycle(*noisy)]
    assert sorted(later) == sorted(one.entry.policy.name for one in many)


def test_after_a_restart_what_changed_meanwhile_is_written_at_once(told: Told) -> None:
    """The decision is another one than the object carries."""
    told.cycle(judged(named()))
    shown = carrying(judged(named(), wanted=(6, 0)), told.written)
    told.restart()
    assert told.cycle(shown) == ["llama"]


def test_after_a_silence_what_the_object_carries_counts(told: Told) -> None:
    """Another replica may have led, and written: what was remembered is dropped after a minute."""
    a, b = judged(named()), judged(named(), wanted=(5, 0))
    told.cycle(a)
    first = told.written
    told.cycle(b)
    # Another has written what we wrote first.
    assert told.cycle(carrying(a, first), after=61.0) == []
    assert told.cycle(carrying(b, first)) == ["llama"]


def test_a_silence_of_one_cycle_is_none(told: Told) -> None:
    """What was written counts, though the watch has not shown it yet."""
    one = judged(named())
    told.cycle(one)
    assert told.cycle(one, after=60.0) == []


def test_writes_for_figures_wait_for_their_turn_and_decisions_do_not() -> None:
    """Three a cycle, until all are written; all replicas at once."""
    told = Told(writes_per_cycle=3)
    of = [named(f"llama-{i}") for i in range(10)]
    assert len(told.cycle(*(judged(one) for one in of))) == 10
    blind = [judged(one, blind=True) for one in of]
    names = [told.cycle(*blind) for _ in range(5)]
    assert [len(each) for each in names] == [3, 3, 3, 1, 0]
    assert {name for each in names for name in each} == {one.policy.name for one in of}
    both = [judged(one, wanted=(5, 0)) for one in of[:5]] + [judged(one) for one in of[5:]]
    assert len(told.cycle(*both)) == 5 + 3


def test_a_failed_write_is_told_of_its_object_and_is_due_again(told: Told) -> None:
    """The others are written; the next cycle is the retry, and then it is done."""
    both = [judged(named("good")), judged(named("bad"))]
    down = Unanswered("PATCH: timed out")
    told.server.refuses = lambda path: down if "/bad/" in path else None
    assert told.cycle(*both) == ["good"]
    assert told.outcomes == [None, down]
    assert told.cycle(*both) == []
    assert told.outcomes == [None, down]
    told.server.refuses = lambda _: None
    assert told.cycle(*both) == ["bad"]
    assert told.outcomes == [None, None]
    assert told.cycle(*both) == []


def test_what_failed_does_not_use_up_the_hour(told: Told) -> None:
    """Once the API server answers again, the condition is told in the same cycle."""
    told.cycle(judged(named()))
    told.server.refuses = lambda _: Unanswered("down")
    for _ in range(100):
        told.cycle(judged(named(), blind=True))
    told.server.refuses = lambda _: None
    assert told.cycle(judged(named(), blind=True)) == ["llama"]


def test_a_deletion_meanwhile_is_no_failure(told: Told) -> None:
    """The object is gone on the API server, and the watch has not told yet."""
    told.server.refuses = lambda _: NotFound(404, "not found")
    told.cycle(judged(named()))
    assert told.outcomes == [None]


def test_a_refusal_is_a_failure(told: Told) -> None:
    """Such as by a webhook, though it has the code of a failed test."""
    webhook = Refused(422, 'ModelDeployment.steelyard.dev "llama" is invalid: status: too long')
    told.server.refuses = lambda _: webhook
    told.cycle(judged(named()))
    assert told.outcomes == [webhook]


def test_another_object_of_the_same_name_gets_its_own_status(told: Told) -> None:
    """Deleted and created again within one cycle: nothing is written of it, whatever was before."""
    told.cycle(judged(named(uid="old")))
    again = judged(named(uid="new"))
    assert told.cycle(again) == ["llama"]
    assert told.cycle(again) == []


def test_what_is_gone_is_forgotten(told: Told) -> None:
    """Names come and go for as long as the operator runs."""
    for i in range(50):
        told.cycle(judged(named(f"llama-{i}")), judged(named("stays")))
    assert len(told.writer._written) <= 3
    assert told.cycle(judged(named("stays"))) == []


class Cluster:
    """Objects on the real API server and a writer of their statuses."""

    def __init__(self, kubernetes: Kubernetes, plane: ControlPlane, namespace: str) -> None:
        self.plane, self.namespace = plane, namespace
        self.writer = StatusWriter(kubernetes=kubernetes, writes_per_cycle=100)
        self.now = NOW

    def apply(self, body: Document) -> Entry:
        """Apply an object; returns it as the store would have it."""
        self.plane.apply(body)
        return self.seen(body["metadata"]["name"])

    def seen(self, name: str) -> Entry:
        """An object as it is now."""
        body = self.get(name)
        return entry(body, read_status(body) if body.get("status") else None)

    def get(self, name: str) -> Document:
        """The whole object."""
        said = self.plane.kubectl("get", "md", name, "-n", self.namespace, "-o", "json")
        found: Document = json.loads(said)
        return found

    def tell(self, *judgements: Judged) -> Sequence[PortError | None]:
        """One cycle later."""
        self.now += TICK
        return asyncio.run(self.writer.tell(judgements, self.now))


@pytest.fixture
def cluster(control_plane: ControlPlane, kubernetes: Kubernetes, namespace: str) -> Cluster:
    """No object there yet."""
    return Cluster(kubernetes, control_plane, namespace)


@pytest.mark.cluster
def test_what_is_no_longer_known_goes(cluster: Cluster) -> None:
    """The forecast of an object that is blind now is not shown any more; its spec is untouched."""
    of = cluster.apply(document("llama", cluster.namespace))
    assert cluster.tell(judged(of)) == [None]
    before = cluster.get("llama")
    assert before["status"]["forecast"]["source"] == "regression"
    assert cluster.tell(judged(of, blind=True)) == [None]
    after = cluster.get("llama")
    assert "forecast" not in after["status"]
    assert read_status(after) == cluster.seen("llama").status
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


@pytest.mark.cluster
def test_an_object_created_anew_does_not_get_the_old_ones_status(cluster: Cluster) -> None:
    """The watch has not told yet; that is no failure, and the new one is told in its turn."""
    body = document("llama", cluster.namespace)
    old = cluster.apply(body)
    cluster.plane.kubectl("delete", "md", "llama", "-n", cluster.namespace)
    new = cluster.apply(body)
    assert cluster.tell(judged(old)) == [None]
    assert "status" not in cluster.get("llama")
    assert cluster.tell(judged(new)) == [None]
    assert cluster.get("llama")["status"]["observedGeneration"] == 1


@pytest.mark.cluster
def test_a_deleted_object_is_no_failure(cluster: Cluster) -> None:
    """Nothing is created by the write, either."""
    old = cluster.apply(document("llama", cluster.namespace))
    cluster.plane.kubectl("delete", "md", "llama", "-n", cluster.namespace)
    assert cluster.tell(judged(old)) == [None]
    assert cluster.plane.kubectl("get", "md", "-n", cluster.namespace, "-o", "name") == ""


@pytest.mark.cluster
def test_kubectl_shows_the_columns(cluster: Cluster) -> None:
    """What people look for first, and more of it with ``-o wide``."""
    of = cluster.apply(document("llama", cluster.namespace))
    cluster.tell(judged(of, wanted=(5, 1), ready=(4, 1), attainment=0.9951))
    row = cluster.plane.kubectl("get", "md", "-n", cluster.namespace)
    head, values, *_ = [line.split() for line in row.splitlines()]
    shown = dict(zip(head, values, strict=True))
    assert shown | {"AGE": ""} == {
        "NAME": "llama",
        "MODE": "Auto",
        "SLO": "0.99",
        "PRIMARY": "4/5",
        "FALLBACK": "1/1",
        "ATTAINMENT": "0.9951",
        "COST/H": "24",
        "REASON": "CheapestWithinBudgets",
        "AGE": "",
    }
    wide = cluster.plane.kubectl("get", "md", "-n", cluster.namespace, "-o", "wide")
    head, values, *_ = [line.split() for line in wide.splitlines()]
    shown = dict(zip(head, values, strict=True))
    assert (shown["READY"], shown["METRICS"], shown["TRUSTED"]) == ("True", "True", "True")
    assert (shown["FORECAST"], shown["ERRORS-LEFT"], shown["QUALITY-LEFT"]) == ("21", "0.4", "0.9")


@pytest.mark.cluster
def test_the_largest_status_is_taken_and_is_small(cluster: Cluster) -> None:
    """Eight variants with the longest names, and more to say than there is room for."""
    body = document("llama", cluster.namespace)
    template = body["spec"]["variants"][1]
    body["spec"]["variants"] = [
        template
        | {
            "name": f"variant-{i}-".ljust(LONGEST_NAME, "x"),
            "role": "Fallback" if i else "Primary",
            "targetRef": {"name": f"llama-{i}"},
            "minReplicas": 0 if i else 1,
        }
        for i in range(8)
    ]
    of = cluster.apply(body)
    problem = Conflict('the "target"\n\\ \u00fc\U0001f600 changed ' * 40)
    steps = [Reason.INFEASIBLE_WITHIN_LIMITS, Reason.ROUTING_WOULD_LOWER_CAPACITY] * 5
    one = judged(
        of, problem, wanted=(999,) * 8, seen=(1,) * 8, steps=steps, degraded=True, attainment=0.1234
    )
    assert cluster.tell(one) == [None]
    status = cluster.get("llama")["status"]
    assert len(status["variants"]) == 8
    assert len(json.dumps(status, separators=(",", ":"), ensure_ascii=False).encode()) <= (
        STATUS_BYTES
    )
    planned = one.report.planned
    assert read_status({"status": status}) == to_status(
        planned.policy,
        planned.observation,
        planned.decision,
        now=cluster.now,
        generation=1,
        assessment=one.assessment,
    )
