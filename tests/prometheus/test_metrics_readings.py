"""What is read of an object: every kind of trouble has its own reason, and none of them is zero."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from controller.adapters.prometheus.metrics import PrometheusMetrics
from controller.adapters.prometheus.profiles import Profiles
from controller.adapters.prometheus.session import QueryFailed
from controller.adapters.prometheus.settings import PrometheusSettings
from controller.core.domain.observation import (
    TOKEN_EDGES,
    Measured,
    Missing,
    MissingReason,
    Outcomes,
    Traffic,
)
from controller.core.domain.policy import Policy
from controller.ports import MetricsReading

ORIGIN = 1_743_465_600.0
ABSENT = Missing(MissingReason.ABSENT)
PARTIAL = Missing(MissingReason.PARTIAL)

Look = Callable[[float], MetricsReading]


@pytest.fixture
def policy(world: Any, shown: Any) -> Policy:
    """One object with two Ready pods of its Primary and none of its Fallback."""
    shown.know_edges()
    policy = world.add()
    world.pod(policy, 0, "a")
    world.pod(policy, 0, "b")
    return policy


@pytest.fixture
def look(
    world: Any, shown: Any, settings: PrometheusSettings, profiles: Profiles, policy: Policy
) -> Look:
    """Read the object at a second after ORIGIN, then let Prometheus show nothing again."""
    metrics = PrometheusMetrics(shown, world, settings, profiles)

    def go(second: float) -> MetricsReading:
        (reading,) = asyncio.run(metrics.read([world.question(policy)], ORIGIN + second))
        shown.series.clear()
        return reading

    return go


def both(shown: Any, at: float, **parts: float) -> None:
    """Show both pods alike."""
    shown.show("a", at, **parts)
    shown.show("b", at, **parts)


def reasons(reading: MetricsReading) -> tuple[Missing, Missing]:
    """Traffic and outcomes, which must both be missing."""
    assert isinstance(reading.traffic, Missing)
    assert isinstance(reading.outcomes, Missing)
    return reading.traffic, reading.outcomes


def test_arrivals_are_what_ended_or_was_refused_and_what_is_in_more(shown: Any, look: Look) -> None:
    """While an engine fills up nothing ends, and yet requests arrive."""
    both(shown, 0.0, ended=100.0)
    assert reasons(look(5.0)) == (ABSENT, ABSENT)
    both(shown, 15.0, ended=110.0, refused=3.0, running=20.0, waiting=7.0)
    traffic = look(20.0).traffic
    assert traffic == Traffic(
        from_seconds=ORIGIN,
        to_seconds=ORIGIN + 15.0,
        requests=2 * (10.0 + 3.0 + 27.0),
        refused=6.0,
        token_requests=0.0,
        prompt_tokens=0.0,
        output_tokens=0.0,
    )
    both(shown, 30.0, ended=137.0, refused=3.0)
    later = look(35.0).traffic
    assert isinstance(later, Traffic)
    assert later.requests == 0.0


def test_idle_is_measured_as_zero(shown: Any, look: Look) -> None:
    """Series that stand still are no traffic; that is a measurement and no gap."""
    both(shown, 0.0, ended=5.0)
    look(5.0)
    both(shown, 15.0, ended=5.0)
    reading = look(20.0)
    assert isinstance(reading.traffic, Traffic)
    assert reading.traffic.requests == 0.0
    assert reading.gauges[0][:2] == (Measured(0.0, ORIGIN + 15.0),) * 2


def test_outcomes_count_each_objective_at_its_edge(shown: Any, look: Look) -> None:
    """Refused, aborted and failed requests are in no histogram and all the same not good."""
    both(shown, 0.0)
    look(5.0)
    both(
        shown,
        15.0,
        ended=50.0,
        failed=4.0,
        refused=2.0,
        ttft_count=48.0,
        ttft_bucket=45.0,
        tpot_count=46.0,
        tpot_bucket=41.0,
    )
    assert look(20.0).outcomes == Outcomes(
        from_seconds=ORIGIN,
        to_seconds=ORIGIN + 15.0,
        ended=104.0,
        failed=12.0,
        bad_ttft=6.0,
        bad_tpot=10.0,
        degraded=0.0,
    )


def test_what_a_fallback_finished_is_degraded(
    world: Any, shown: Any, look: Look, policy: Policy
) -> None:
    """Its failures are failures; only what it served was served degraded."""
    world.pod(policy, 1, "f")
    for at, ended in ((0.0, 0.0), (15.0, 9.0)):
        both(shown, at, ended=ended)
        shown.show("f", at, ended=ended, failed=ended / 3)
        reading = look(at + 5.0)
    assert isinstance(reading.outcomes, Outcomes)
    assert (reading.outcomes.ended, reading.outcomes.degraded) == (27.0, 6.0)


def test_a_pod_that_is_ready_and_not_seen_makes_the_answer_partial(shown: Any, look: Look) -> None:
    """Fewer pods than are Ready: not their sum, and it is said which one; no arrival is lost."""
    both(shown, 0.0, ended=10.0)
    look(5.0)
    shown.show("a", 15.0, ended=20.0)
    reading = look(20.0)
    assert reasons(reading) == (PARTIAL, PARTIAL)
    assert reading.gauges[0] == (PARTIAL,) * 3
    assert reading.finding == "1 of 2 Ready replicas seen, b not"
    both(shown, 30.0, ended=30.0)
    whole = look(35.0).traffic
    assert isinstance(whole, Traffic)
    assert (whole.from_seconds, whole.requests) == (ORIGIN, 40.0)


def test_a_pod_just_ready_may_be_unseen_for_some_scrapes(
    world: Any, shown: Any, look: Look, policy: Policy
) -> None:
    """It must be found and scraped first; after four scrapes without it the answer is partial."""
    both(shown, 0.0)
    look(5.0)
    world.pod(policy, 0, "c", created=-40.0)  # Ready since second 20
    both(shown, 15.0, ended=3.0)
    assert isinstance(look(25.0).traffic, Traffic)
    both(shown, 75.0, ended=3.0)
    assert isinstance(look(79.0).traffic, Traffic)
    both(shown, 80.0, ended=3.0)
    assert look(81.0).traffic == PARTIAL


def test_a_new_pod_counts_from_zero_and_an_old_one_from_its_first_sample(
    world: Any, shown: Any, look: Look, policy: Policy
) -> None:
    """What a pod counted before this process first looked is nobody's arrival."""
    both(shown, 0.0)
    look(5.0)
    world.pod(policy, 0, "new", created=6.0, ready_since_seconds=ORIGIN + 10.0)
    world.pod(policy, 0, "old", created=-500.0, draining=True)
    both(shown, 15.0)
    shown.show("new", 15.0, ended=4.0, running=2.0)
    shown.show("old", 15.0, ended=1000.0, running=50.0)
    traffic = look(20.0).traffic
    assert isinstance(traffic, Traffic)
    assert traffic.requests == 6.0
    both(shown, 30.0)
    shown.show("new", 30.0, ended=6.0)
    shown.show("old", 30.0, ended=1010.0, running=45.0)
    traffic = look(35.0).traffic
    assert isinstance(traffic, Traffic)
    assert traffic.requests == 5.0


def test_a_restarted_engine_counts_from_zero_and_its_requests_are_lost(
    shown: Any, look: Look
) -> None:
    """A counter that went back is no negative traffic; what was in the engine failed."""
    both(shown, 0.0, ended=100.0, running=10.0)
    look(5.0)
    shown.show("a", 15.0, ended=100.0, running=10.0)
    shown.show("b", 15.0, ended=3.0, running=4.0)
    reading = look(20.0)
    assert isinstance(reading.traffic, Traffic)
    assert isinstance(reading.outcomes, Outcomes)
    assert reading.traffic.requests == 7.0
    assert (reading.outcomes.ended, reading.outcomes.failed) == (13.0, 10.0)


def test_a_restart_that_no_counter_shows_is_told_by_its_beginning(shown: Any, look: Look) -> None:
    """With more requests after the restart than before it, only the time of creation tells."""
    both(shown, 0.0, ended=5.0, created=ORIGIN - 100.0)
    look(5.0)
    both(shown, 15.0, ended=8.0, created=ORIGIN + 7.0)
    traffic = look(20.0).traffic
    assert isinstance(traffic, Traffic)
    assert traffic.requests == 16.0


def test_a_lost_pod_takes_nothing_away(world: Any, shown: Any, look: Look, policy: Policy) -> None:
    """What was in a deleted pod neither arrived nor un-arrived."""
    both(shown, 0.0, running=30.0)
    look(5.0)
    world.pods[policy.key][0].pop()
    shown.show("a", 15.0, running=30.0, ended=4.0)
    traffic = look(20.0).traffic
    assert isinstance(traffic, Traffic)
    assert traffic.requests == 4.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0])
@pytest.mark.parametrize("part", ["ended", "running", "ttft_bucket", "time"])
def test_no_number_is_no_zero(shown: Any, look: Look, part: str, value: float) -> None:
    """NaN, infinite and negative readings are rejected, wherever they stand."""
    both(shown, 0.0)
    look(5.0)
    shown.show("a", 15.0)
    shown.show("b", 15.0, **{part: value})
    reading = look(20.0)
    assert reasons(reading) == (Missing(MissingReason.NOT_A_NUMBER),) * 2
    assert "b is NaN" in reading.finding


def test_old_samples_are_stale(shown: Any, look: Look) -> None:
    """Prometheus shows a sample for five minutes; four scrapes are as long as it is believed."""
    both(shown, 0.0)
    look(5.0)
    both(shown, 15.0)
    assert isinstance(look(74.0).traffic, Traffic)
    both(shown, 30.0)
    reading = look(90.1)
    assert reasons(reading) == (Missing(MissingReason.STALE),) * 2
    assert reading.gauges[0][0] == Missing(MissingReason.STALE)


def test_without_a_newer_sample_nothing_is_counted(shown: Any, look: Look) -> None:
    """The same scrape seen twice is told once; gauges are as they were."""
    both(shown, 0.0)
    look(5.0)
    both(shown, 15.0, ended=7.0)
    assert isinstance(look(20.0).traffic, Traffic)
    both(shown, 15.0, ended=7.0, running=0.0)
    reading = look(25.0)
    assert reasons(reading) == (Missing(MissingReason.STALE),) * 2
    assert reading.gauges[0][0] == Measured(0.0, ORIGIN + 15.0)


def test_another_models_series_are_named(shown: Any, look: Look) -> None:
    """The commonest mistake: the repository's name where the served name belongs."""
    for pod in "ab":
        shown.show(pod, 0.0, model="meta-llama/Llama-3.1-8B")
    reading = look(5.0)
    assert reasons(reading) == (ABSENT, ABSENT)
    assert reading.finding == (
        "no series for model llama in namespace serving; series exist for meta-llama/Llama-3.1-8B"
    )


def test_series_of_other_namespaces_are_nobodys_and_are_not_told(shown: Any, look: Look) -> None:
    """A tenant learns nothing of another, and is never given its traffic."""
    for pod in "ab":
        shown.show(pod, 0.0, namespace="other", ended=1000.0)
    reading = look(5.0)
    assert reasons(reading) == (ABSENT, ABSENT)
    assert reading.finding == "no series for model llama in namespace serving; is it scraped?"


def test_series_without_a_pod_are_told(shown: Any, look: Look) -> None:
    """A scrape that drops the label leaves nothing to attribute."""
    shown.show("", 0.0)
    reading = look(5.0)
    assert reasons(reading) == (ABSENT, ABSENT)
    assert reading.finding == "series of llama have no label pod to tell the pod"


def test_series_of_other_pods_do_not_count(shown: Any, look: Look) -> None:
    """The same model in the same namespace may be another object's."""
    shown.show("z", 0.0, ended=1000.0)
    reading = look(5.0)
    assert reasons(reading) == (ABSENT, ABSENT)
    assert reading.finding == "series of llama exist, but of none of this object's replicas"


def test_a_failed_scrape_is_told_from_an_absent_series(shown: Any, look: Look) -> None:
    """``up`` is 0 where Prometheus knows the pod and cannot read it."""
    labels = {"profile": "VLLM", "part": "down", "namespace": "serving", "pod": "b"}
    shown.show("a", 0.0)
    shown.series.append({"metric": labels, "value": [0, "0"]})
    reading = look(5.0)
    assert reasons(reading) == (PARTIAL, PARTIAL)
    assert reading.finding.startswith("the scrape of b fails (up is 0)")


def test_a_counter_under_another_name_is_told(shown: Any, look: Look) -> None:
    """Gauges alone are no traffic."""
    both(shown, 0.0)
    shown.series = [one for one in shown.series if one["metric"]["part"] != "ended"]
    reading = look(5.0)
    assert reasons(reading) == (ABSENT, ABSENT)
    assert reading.finding == "VLLM shows not every counter of a; was one renamed?"


def test_a_counter_that_vanishes_is_partial_and_not_zero(shown: Any, look: Look) -> None:
    """Refusals that no longer show are not no refusals."""
    both(shown, 0.0, refused=5.0)
    look(5.0)
    both(shown, 15.0, ended=9.0)
    shown.series = [one for one in shown.series if one["metric"]["part"] != "refused"]
    assert reasons(look(20.0)) == (PARTIAL, PARTIAL)
    both(shown, 30.0, ended=9.0, refused=6.0)
    traffic = look(35.0).traffic
    assert isinstance(traffic, Traffic)
    assert (traffic.requests, traffic.refused) == (20.0, 2.0)


def test_series_told_twice_are_not_added(shown: Any, look: Look) -> None:
    """Two answers to one question are none."""
    both(shown, 0.0)
    shown.show("b", 0.0)
    reading = look(5.0)
    assert reasons(reading) == (PARTIAL, PARTIAL)
    assert reading.finding == "b has series twice; is it scraped by two jobs?"


def test_a_pod_of_two_scrape_jobs_is_not_counted_twice(shown: Any, look: Look) -> None:
    """Sums over a pod's series are twice as much then: no reading, and it is said why."""
    both(shown, 0.0)
    labels = {"profile": "VLLM", "part": "twice", "namespace": "serving", "pod": "a"}
    shown.series.append({"metric": {**labels, "model_name": "llama"}, "value": [0, "2"]})
    reading = look(5.0)
    assert reasons(reading) == (PARTIAL, PARTIAL)
    assert reading.finding == "a has series twice; is it scraped by two jobs?"


def test_lengths_are_read_although_edges_are_looked_for(
    world: Any, shown: Any, settings: PrometheusSettings, profiles: Profiles
) -> None:
    """While an object's edges are unknown they are asked every other cycle at most."""
    policy = world.add()
    metrics = PrometheusMetrics(shown, world, settings, profiles)
    for tick in range(6):
        asyncio.run(metrics.read([world.question(policy)], ORIGIN + 60.0 * tick))
    assert shown.asked == [1, 1, 2] * 3  # edges, then readings alone; readings with lengths


@pytest.mark.parametrize("reason", [MissingReason.QUERY_FAILED, MissingReason.PARTIAL])
def test_a_query_that_fails_blinds_everything(
    shown: Any, look: Look, reason: MissingReason
) -> None:
    """Nothing is taken from before; the reason is told."""
    both(shown, 0.0)
    look(5.0)
    shown.failure = QueryFailed("status 503", reason)
    reading = look(20.0)
    assert reasons(reading) == (Missing(reason),) * 2
    assert {gauge for gauges in reading.gauges for gauge in gauges} == {Missing(reason)}
    assert reading.finding == "status 503"
    shown.failure = None
    both(shown, 60.0, ended=8.0)
    traffic = look(65.0).traffic
    assert isinstance(traffic, Traffic)
    assert (traffic.from_seconds, traffic.requests) == (ORIGIN, 16.0)


def test_no_replica_is_no_traffic_reading(world: Any, look: Look, policy: Policy) -> None:
    """With no engine there is no arrival to see; its gauges are zero, for nothing runs."""
    world.pods[policy.key][0].clear()
    reading = look(5.0)
    assert reasons(reading) == (ABSENT, ABSENT)
    assert reading.gauges[0][0] == Measured(0.0, ORIGIN + 5.0)
    assert "no replica" in reading.finding


def test_a_threshold_off_an_edge_is_read_below_it_and_told(
    world: Any, shown: Any, settings: PrometheusSettings, profiles: Profiles
) -> None:
    """Never at the edge above: attainment would be told better than it is."""
    shown.know_edges()
    objectives = [{"metric": "TimePerOutputToken", "thresholdMilliseconds": 70}]
    policy = world.add(slo={"objectives": objectives})
    world.pod(policy, 0, "a")
    metrics = PrometheusMetrics(shown, world, settings, profiles)
    for at, counted in ((0.0, 0.0), (15.0, 30.0)):
        shown.show("a", at, ended=counted, tpot_count=counted, tpot_bucket=counted * 0.5)
        (reading,) = asyncio.run(metrics.read([world.question(policy)], ORIGIN + at + 5.0))
        shown.series.clear()
    assert isinstance(reading.outcomes, Outcomes)
    assert (reading.outcomes.bad_ttft, reading.outcomes.bad_tpot) == (0.0, 15.0)
    assert reading.finding == (
        "SloNotMeasurable: TPOT 70 ms read at 50 ms; set --custom-histogram-buckets"
    )


def test_below_the_lowest_edge_all_are_bad(
    world: Any, shown: Any, settings: PrometheusSettings, profiles: Profiles
) -> None:
    """What cannot be shown to be good is not."""
    shown.know_edges()
    objectives = [{"metric": "TimePerOutputToken", "thresholdMilliseconds": 7}]
    policy = world.add(slo={"objectives": objectives})
    world.pod(policy, 0, "a")
    metrics = PrometheusMetrics(shown, world, settings, profiles)
    for at, counted in ((0.0, 0.0), (15.0, 30.0)):
        shown.show("a", at, ended=counted, tpot_count=counted)
        (reading,) = asyncio.run(metrics.read([world.question(policy)], ORIGIN + at + 5.0))
        shown.series.clear()
    assert isinstance(reading.outcomes, Outcomes)
    assert reading.outcomes.bad_tpot == 30.0


def test_without_its_histogram_an_objective_is_missing(shown: Any, look: Look) -> None:
    """No histogram is no attainment of 1; arrivals are measured all the same."""
    shown.edges.clear()
    for at in (0.0, 15.0):
        both(shown, at, ended=at)
        reading = look(at + 5.0)
    assert isinstance(reading.traffic, Traffic)
    assert reading.outcomes == ABSENT
    assert reading.finding.startswith("SloNotMeasurable: TTFT 1000 ms")


def test_token_gaps_stand_in_where_requests_have_no_histogram(shown: Any, look: Look) -> None:
    """Old engines count gaps: their bad share is taken for that of the requests."""
    shown.edges = [
        {**one, "metric": one["metric"] | {"part": one["metric"]["part"].replace("tpot", "gaps")}}
        for one in shown.edges
    ]
    for at, counted in ((0.0, 0.0), (15.0, 40.0)):
        both(
            shown, at, ended=counted, ttft_count=counted, ttft_bucket=counted,
            tpot_count=counted * 100, tpot_bucket=counted * 75,
        )  # fmt: skip
        for one in shown.series:
            one["metric"]["part"] = one["metric"]["part"].replace("tpot", "gaps")
        reading = look(at + 5.0)
    assert isinstance(reading.outcomes, Outcomes)
    assert reading.outcomes.bad_tpot == pytest.approx(0.25 * 80.0)


def test_lengths_fill_the_buckets_of_the_domain(shown: Any, look: Look) -> None:
    """An engine's edges end at its model length: what is beyond lies just above them."""

    def lengths(at: float, factor: float) -> None:
        both(shown, at, ended=at)
        shown.lengths.clear()
        for pod in "ab":
            for part in ("prompt_lengths", "output_lengths"):
                for edge, below in (("10.0", 1.0), ("20.0", 3.0), ("+Inf", 7.0)):
                    labels = {
                        "profile": "VLLM", "part": part, "namespace": "serving",
                        "model_name": "llama", "pod": pod, "le": edge,
                    }  # fmt: skip
                    shown.lengths.append({"metric": labels, "value": [0, str(below * factor)]})

    lengths(0.0, 1.0)
    look(5.0)
    lengths(15.0, 2.0)
    first = look(20.0).traffic
    lengths(30.0, 5.0)
    second = look(35.0).traffic
    assert isinstance(first, Traffic)
    assert isinstance(second, Traffic)
    assert first.prompt_histogram == ()
    expected = [0.0] * (len(TOKEN_EDGES) + 1)
    expected[TOKEN_EDGES.index(10.0)] = 2 * 3 * 1.0
    expected[TOKEN_EDGES.index(20.0)] = 2 * 3 * 2.0
    expected[TOKEN_EDGES.index(50.0)] = 2 * 3 * 4.0
    assert second.prompt_histogram == second.output_histogram == tuple(expected)


def test_an_engine_that_counts_late_is_zero_only_while_it_was_never_used(
    world: Any, shown: Any, settings: PrometheusSettings, profiles: Profiles
) -> None:
    """SGLang shows a counter once it counted: absent beside a running request it is unknown."""
    policy = world.add(variant={"engine": "SGLang"})
    world.pod(policy, 0, "a")
    metrics = PrometheusMetrics(shown, world, settings, profiles)

    def look(at: float, *names: str, **parts: float) -> MetricsReading:
        shown.series.clear()
        shown.show("a", at, **parts)
        for one in shown.series:
            one["metric"]["profile"] = "SGLang"
        shown.series = [
            one
            for one in shown.series
            if one["metric"]["part"] in ("time", "running", "waiting", *names)
        ]
        (reading,) = asyncio.run(metrics.read([world.question(policy)], ORIGIN + at + 5.0))
        return reading

    look(0.0)
    idle = look(15.0).traffic
    assert isinstance(idle, Traffic)
    assert idle.requests == 0.0
    assert look(30.0, running=1.0).traffic == ABSENT
    counted = ("ended", "token_requests", "prompt_tokens", "output_tokens")
    used = look(45.0, *counted, ended=2.0).traffic
    assert isinstance(used, Traffic)
    assert (used.from_seconds, used.requests) == (ORIGIN + 15.0, 2.0)


def test_an_unknown_profile_is_told_and_blinds_only_its_object(
    world: Any, shown: Any, settings: PrometheusSettings, profiles: Profiles
) -> None:
    """A misspelt engine concerns nobody else."""
    good, bad = world.add("good"), world.add("bad", variant={"engine": "my-engine"})
    world.pod(good, 0, "a")
    metrics = PrometheusMetrics(shown, world, settings, profiles)
    questions = [world.question(good), world.question(bad)]
    for at in (0.0, 15.0):
        shown.show("a", at)
        readings = asyncio.run(metrics.read(questions, ORIGIN + at))
        shown.series.clear()
    assert isinstance(readings[0].traffic, Traffic)
    assert reasons(readings[1]) == (ABSENT, ABSENT)
    assert "no metrics profile is named my-engine" in readings[1].finding


def test_arrivals_outside_the_engine(
    world: Any, shown: Any, settings: PrometheusSettings, profiles: Profiles
) -> None:
    """A gateway's counter is believed over the engines', of its own route and namespace only."""
    arrivals = {"metricsProfile": "gateway", "name": "chat"}
    policy = world.add(arrivals=arrivals)
    metrics = PrometheusMetrics(shown, world, settings, profiles)

    def look(at: float, **instances: float) -> MetricsReading:
        shown.outside.clear()
        for namespace, route, more in (
            ("serving", "chat", 0.0),
            ("serving", "other", 1e6 + at),
            ("elsewhere", "chat", 1e6 + at),
        ):
            for instance, value in instances.items():
                for part, told in (("arrivals", value + more), ("time", ORIGIN + at)):
                    labels = {
                        "profile": "gateway", "part": part, "route": route,
                        "route_namespace": namespace, "instance": instance,
                    }  # fmt: skip
                    shown.outside.append({"metric": labels, "value": [0, str(told)]})
        (reading,) = asyncio.run(metrics.read([world.question(policy)], ORIGIN + at + 5.0))
        return reading

    assert look(0.0, g1=100.0).traffic == ABSENT
    first = look(15.0, g1=130.0, g2=7.0).traffic
    second = look(30.0, g1=2.0, g2=17.0).traffic
    assert isinstance(first, Traffic)
    assert isinstance(second, Traffic)
    assert (first.requests, second.requests) == (30.0, 2.0 + 10.0)
    assert look(45.0, g3=500.0).traffic == PARTIAL
    assert look(60.0).traffic == ABSENT


def test_the_number_of_queries_does_not_depend_on_the_number_of_objects(
    world: Any, shown: Any, settings: PrometheusSettings, profiles: Profiles
) -> None:
    """All engines, outside arrivals, lengths and edges: 14 at most, whatever is watched."""
    for i in range(40):
        engine = ("VLLM", "SGLang", "TGI", "TritonTRTLLM")[i % 4]
        arrivals = {"metricsProfile": "gateway", "name": f"route-{i}"}
        policy = world.add(f"object-{i}", variant={"engine": engine}, arrivals=arrivals)
        world.pod(policy, 0, f"pod-{i}")
    metrics = PrometheusMetrics(shown, world, settings, profiles)
    questions = [world.question(entry.policy) for entry in world.entries()]
    for tick in range(4):
        asked = len(shown.asked)
        asyncio.run(metrics.read(questions, ORIGIN + 15.0 * tick))
        assert sum(shown.asked[asked:]) <= 14
    assert sum(shown.asked[asked:]) == 3 + 3 + 1
