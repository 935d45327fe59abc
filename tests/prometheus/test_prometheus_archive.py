"""History out of Prometheus: in the background, in bounded shards, never invented."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from threading import Event
from typing import Any

import numpy as np
import pytest

from controller.adapters.prometheus.archive import PrometheusArchive
from controller.adapters.prometheus.profiles import Profiles
from controller.adapters.prometheus.session import PrometheusClient, QueryFailed, Series
from controller.adapters.prometheus.settings import PrometheusSettings
from controller.core.domain.observation import PastTraffic
from controller.core.domain.policy import Policy
from controller.ports import MetricsUnavailable

ORIGIN = 1_743_465_600.0
HOUR = 3600.0


class Ranges:
    """A client that answers ranges with ramps; ``asked`` holds what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float, float, float]] = []
        self.failure: QueryFailed | None = None
        self.models = ["llama"]
        self.open = Event()
        self.open.set()
        self.of: Callable[[str, float], float | None] = lambda part, at: 60.0  # noqa: ARG005 - the shape asked for

    def query_range(
        self, expression: str, from_seconds: float, to_seconds: float, step_seconds: float
    ) -> list[Series]:
        """Answer every part of VLLM for the model and namespace of the tests."""
        self.open.wait()
        self.asked.append((expression, from_seconds, to_seconds, step_seconds))
        if self.failure is not None:
            raise self.failure
        times = np.arange(from_seconds, to_seconds + 1, step_seconds)
        answer = []
        parts = ("ended", "refused", "token_requests", "prompt_tokens", "running", "waiting")
        for part, model in product(parts, self.models):
            labels = {
                "profile": "VLLM", "part": part, "namespace": "serving", "model_name": model,
            }  # fmt: skip
            told = [(t, self.of(part, t)) for t in times.tolist()]
            values = [[t, str(v)] for t, v in told if v is not None]
            if values:
                answer.append({"metric": labels, "values": values})
        return answer


@pytest.fixture
def ranges() -> Ranges:
    """Sixty of everything in each step."""
    return Ranges()


@pytest.fixture
def archive(
    world: Any, ranges: Ranges, settings: PrometheusSettings, profiles: Profiles
) -> Iterator[PrometheusArchive]:
    """An archive of one day."""
    made = PrometheusArchive(ranges, world, replace(settings, history_seconds=24 * HOUR), profiles)
    yield made
    made.close()


def read(archive: PrometheusArchive, policy: Policy, now: float = ORIGIN) -> PastTraffic | None:
    """Ask, wait for the background, and ask again."""
    with pytest.raises(MetricsUnavailable, match="is being read"):
        asyncio.run(archive.past(policy, now))
    archive.settled()
    return asyncio.run(archive.past(policy, now))


def test_a_day_is_read_in_shards_of_six_hours(
    archive: PrometheusArchive, ranges: Ranges, world: Any
) -> None:
    """Contiguous, none longer, and the whole is one array of minutes."""
    past = read(archive, world.add())
    assert past is not None
    assert (past.from_seconds, past.step_seconds) == (ORIGIN - 24 * HOUR, 60.0)
    assert len(past.requests) == len(past.prompt_tokens_mean) == 24 * 60
    spans = [(start, end) for _, start, end, _ in ranges.asked]
    assert all(end - start < 6 * HOUR for start, end in spans)
    assert [start for start, _ in spans[1:]] == [end + 60.0 for _, end in spans[:-1]]
    assert spans[-1][1] == ORIGIN


def test_arrivals_follow_from_conservation(
    archive: PrometheusArchive, ranges: Ranges, world: Any
) -> None:
    """What ended or was refused, and what is in the engines more than a step before."""
    ranges.of = lambda part, at: {
        "ended": 30.0, "refused": 5.0, "running": (at - ORIGIN + 24 * HOUR) / 60.0,
        "waiting": 7.0, "token_requests": 30.0, "prompt_tokens": 15_000.0,
    }[part]  # fmt: skip
    past = read(archive, world.add())
    assert past is not None
    assert past.requests[0] == 35.0
    assert set(past.requests[1:].tolist()) == {36.0}
    assert set(past.prompt_tokens_mean.tolist()) == {500.0}
    assert np.isnan(past.output_tokens_mean).all()


def test_what_was_not_seen_is_not_a_number(
    archive: PrometheusArchive, ranges: Ranges, world: Any
) -> None:
    """A gap is no zero; before the first sample there is nothing."""
    begin, gap = ORIGIN - 3 * HOUR, (ORIGIN - 2 * HOUR, ORIGIN - 1 * HOUR)
    ranges.of = lambda part, at: (  # noqa: ARG005 - the shape asked for
        None if at < begin or gap[0] <= at < gap[1] else 60.0
    )
    past = read(archive, world.add())
    assert past is not None
    assert past.from_seconds == begin - 60.0
    missing = np.isnan(past.requests)
    assert missing.sum() == 60
    assert not missing[:60].any()


def test_nothing_kept_is_none_and_no_error(
    archive: PrometheusArchive, ranges: Ranges, world: Any
) -> None:
    """A new Prometheus knows no past; the object starts without."""
    ranges.of = lambda part, at: None  # noqa: ARG005 - the shape asked for
    assert read(archive, world.add()) is None


def test_a_failure_is_told_and_read_again(
    archive: PrometheusArchive, ranges: Ranges, world: Any
) -> None:
    """The next question after the one that tells it starts anew."""
    policy = world.add()
    ranges.failure = QueryFailed("status 503")
    with pytest.raises(MetricsUnavailable, match="status 503"):
        read(archive, policy)
    assert len(ranges.asked) == 1
    ranges.failure = None
    assert read(archive, policy) is not None


def test_other_models_and_namespaces_are_not_taken(archive: PrometheusArchive, world: Any) -> None:
    """Series that came back unasked are nobody's past."""
    assert read(archive, world.add("other", variant={"servedModelName": "mistral"})) is None
    assert read(archive, world.add("away", namespace="elsewhere")) is None


def test_a_model_of_two_objects_is_nobodys_past(
    archive: PrometheusArchive, ranges: Ranges, world: Any
) -> None:
    """Both serve one model in one namespace: the sum of their traffic is neither one's."""
    ranges.models = ["llama", "mistral"]
    chat, batch = world.add("chat"), world.add("batch")
    alone = world.add("alone", variant={"servedModelName": "mistral"})
    assert read(archive, chat) is None
    assert read(archive, batch) is None
    assert read(archive, alone) is not None


def test_many_objects_share_their_queries(
    archive: PrometheusArchive, ranges: Ranges, world: Any
) -> None:
    """Fifty objects at a time: what came first goes alone, the others in two rounds of shards."""
    ranges.models = [f"llama-{i}" for i in range(70)]
    policies = [
        world.add(f"object-{i}", variant={"servedModelName": model})
        for i, model in enumerate(ranges.models)
    ]
    ranges.open.clear()
    for policy in policies:
        with pytest.raises(MetricsUnavailable):
            asyncio.run(archive.past(policy, ORIGIN))
    ranges.open.set()
    archive.settled()
    assert all(asyncio.run(archive.past(policy, ORIGIN)) is not None for policy in policies)
    assert len(ranges.asked) <= 4 * 3


def test_without_history_nothing_is_asked(
    world: Any, ranges: Ranges, settings: PrometheusSettings, profiles: Profiles
) -> None:
    """Zero seconds of past are none."""
    archive = PrometheusArchive(ranges, world, replace(settings, history_seconds=0.0), profiles)
    assert asyncio.run(archive.past(world.add(), ORIGIN)) is None
    assert not ranges.asked
    archive.close()


@pytest.mark.cluster
def test_history_of_a_real_prometheus(
    world: Any,
    settings: PrometheusSettings,
    profiles: Profiles,
    start_prometheus: Callable[..., Any],
) -> None:
    """Two pods at 2 requests/s each, the second of them for the last hour only."""
    lines: dict[str, list[str]] = {}
    for pod, begin in (("a", -2 * HOUR), ("b", -1 * HOUR)):
        for second in np.arange(begin, 1.0, 15.0).tolist():
            count = 2.0 * (second - begin)
            for name, value in (
                ("request_success_total", count),
                ("admission_rejections_total", 0.0),
                ("num_requests_running", 4.0),
                ("num_requests_waiting", 0.0),
                ("request_prompt_tokens_count", count),
                ("request_prompt_tokens_sum", 500.0 * count),
                ("request_generation_tokens_sum", 100.0 * count),
            ):
                labels = f'namespace="serving",pod="{pod}",model_name="llama"'
                line = f"vllm:{name}{{{labels}}} {value} {ORIGIN + second:.3f}"
                lines.setdefault(name, []).append(line)
    text = "\n".join(
        "\n".join((f"# TYPE vllm:{name} unknown", *samples)) for name, samples in lines.items()
    )
    prometheus = start_prometheus(blocks=f"{text}\n# EOF\n")
    chosen = replace(settings, url=prometheus.url, history_seconds=6 * HOUR)
    client = PrometheusClient(chosen)
    archive = PrometheusArchive(client, world, chosen, profiles)
    past = read(archive, world.add())
    client.close()
    archive.close()
    assert past is not None
    at = past.from_seconds + past.step_seconds * np.arange(len(past.requests)) - ORIGIN
    alone, both = (at > -1.9 * HOUR) & (at < -1.1 * HOUR), at > -0.9 * HOUR
    assert past.requests[alone] == pytest.approx(120.0, abs=1.0)
    assert past.requests[both] == pytest.approx(240.0, abs=2.0)
    assert past.prompt_tokens_mean[both] == pytest.approx(500.0)
    assert past.output_tokens_mean[both] == pytest.approx(100.0)
