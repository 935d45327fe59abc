"""``PrometheusArchive``: past traffic of every object, read in the background in bounded shards."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from controller.adapters.directory import Directory, Entry
from controller.adapters.prometheus import queries
from controller.adapters.prometheus.engines import ArrivalsProfile, EngineProfile
from controller.adapters.prometheus.profiles import Profiles
from controller.adapters.prometheus.seen import Source
from controller.adapters.prometheus.session import PrometheusClient, QueryFailed, Series
from controller.adapters.prometheus.settings import PrometheusSettings
from controller.core.domain.observation import PastTraffic
from controller.core.domain.policy import ObjectKey, Policy
from controller.ports import MetricsUnavailable

#: Steps of the past. Wider where scrapes are so rare that a step would hold too few of them.
_STEP_SECONDS: Final = 60.0
_SCRAPES_PER_STEP: Final = 4.0
#: Steps and objects of one query: some 360 x 50 x 9 numbers, a few MB.
_STEPS_PER_SHARD: Final = 360
_OBJECTS_PER_BATCH: Final = 50
#: What was read and is not fetched is dropped after this: its object is gone.
_KEPT_SECONDS: Final = 600.0

#: Counts by (profile, namespace, model or name) and part, shape (steps,); NaN is not seen.
_Counts: TypeAlias = dict[tuple[str, str, str], dict[str, NDArray[np.float64]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """One object whose past is to be read: where its engines count, and its arrivals."""

    key: ObjectKey
    engines: tuple[tuple[EngineProfile, str, str], ...]
    source: Source | None
    now: float


@dataclass(frozen=True, slots=True)
class _Read:
    """What came of it."""

    past: PastTraffic | None
    failure: QueryFailed | None
    now: float


class PrometheusArchive:
    """Implements ``controller.ports.TrafficArchive``.

    The first question for an object starts the reading and is answered by an error; so are the
    next ones until it is done. One thread reads, so that the store has one more client and no
    more.
    """

    def __init__(
        self,
        client: PrometheusClient,
        directory: Directory,
        settings: PrometheusSettings,
        profiles: Profiles,
    ) -> None:
        self._client = client
        self._directory = directory
        self._settings = settings
        self._profiles = profiles
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history")
        self._lock = threading.Lock()
        self._waiting: dict[ObjectKey, _Wanted] = {}
        self._reading: set[ObjectKey] = set()
        self._read: dict[ObjectKey, _Read] = {}
        self._running: Future[None] | None = None

    async def past(self, policy: Policy, now: float) -> PastTraffic | None:
        """Return traffic before ``now``, or None; raises ``MetricsUnavailable`` until read."""
        if self._settings.history_seconds == 0:
            return None
        with self._lock:
            self._read = {k: r for k, r in self._read.items() if now - r.now < _KEPT_SECONDS}
            done = self._read.pop(policy.key, None)
            if done is None:
                self._start(policy, now)
                raise MetricsUnavailable("history is being read")
        if done.failure is not None:
            raise MetricsUnavailable(f"history could not be read: {done.failure}")
        return done.past

    def settled(self) -> None:
        """Block until nothing is being read: for those who can wait, as tests can."""
        running = self._running
        if running is not None:
            running.result()

    def close(self) -> None:
        """Stop reading after the query under way."""
        with self._lock:
            self._waiting.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _start(self, policy: Policy, now: float) -> None:
        """Put an object in the queue, and see that it is worked off."""
        if policy.key in self._waiting or policy.key in self._reading:
            return
        self._waiting[policy.key] = self._wanted(policy, now)
        if self._running is None or self._running.done():
            self._running = self._thread.submit(self._work)

    def _wanted(self, policy: Policy, now: float) -> _Wanted:
        """Look up where an object's traffic was counted; several variants may share a model."""
        try:
            spec = self._directory.entry(policy.key).deployment.spec
        except KeyError:
            return _Wanted(key=policy.key, engines=(), source=None, now=now)
        engines: dict[tuple[str, str], tuple[EngineProfile, str, str]] = {}
        for variant in spec.variants:
            profile = self._profiles.engines.get(variant.engine)
            # Without a model in its series an engine's past cannot be told from its neighbours'.
            if profile is not None and profile.model_label is not None:
                model = variant.served_model_name
                engines[profile.name, model] = (profile, policy.namespace, model)
        source = None
        if spec.arrivals is not None:
            found = self._profiles.arrivals.get(spec.arrivals.metrics_profile)
            if found is not None:
                source = Source(profile=found, namespace=policy.namespace, name=spec.arrivals.name)
        return _Wanted(key=policy.key, engines=tuple(engines.values()), source=source, now=now)

    # --- in the thread ---------------------------------------------------------------------------

    def _work(self) -> None:
        """Read batch by batch until nobody waits."""
        while True:
            with self._lock:
                batch = list(self._waiting.values())[:_OBJECTS_PER_BATCH]
                if not batch:
                    self._running = None
                    return
                for wanted in batch:
                    del self._waiting[wanted.key]
                self._reading = {wanted.key for wanted in batch}
            read = self._batch(_told_apart(batch, _shared(self._directory.entries())))
            with self._lock:
                self._read |= read
                self._reading = set()

    def _batch(self, batch: Sequence[_Wanted]) -> Mapping[ObjectKey, _Read]:
        step = max(_STEP_SECONDS, _SCRAPES_PER_STEP * self._settings.scrape_interval_seconds)
        until = max(wanted.now for wanted in batch) // step * step
        steps = int(self._settings.history_seconds // step)
        begin = until - steps * step
        try:
            counts = self._counts(batch, begin, steps, step)
        except QueryFailed as error:
            return {wanted.key: _Read(None, error, wanted.now) for wanted in batch}
        return {
            wanted.key: _Read(_past(wanted, counts, begin, step), None, wanted.now)
            for wanted in batch
        }

    def _counts(self, batch: Sequence[_Wanted], begin: float, steps: int, step: float) -> _Counts:
        """Ask shard by shard; raises ``QueryFailed`` at the first that cannot be read."""
        counts: _Counts = {}
        for expression, place in _asked(batch, step):
            for first in range(0, steps, _STEPS_PER_SHARD):
                last = min(first + _STEPS_PER_SHARD, steps)
                # Step i ends, and is asked, at begin + (i + 1) step.
                series = self._client.query_range(
                    expression, begin + (first + 1) * step, begin + last * step, step
                )
                for one in series:
                    _sort_in(counts, one, place, (begin, step, steps))
        return counts


def _shared(entries: Sequence[Entry]) -> set[tuple[str, str, str]]:
    """Profile, namespace and model of engines that more than one object has."""
    seen: set[tuple[str, str, str]] = set()
    shared: set[tuple[str, str, str]] = set()
    for entry in entries:
        own = {
            (variant.engine, entry.policy.namespace, variant.served_model_name)
            for variant in entry.deployment.spec.variants
        }
        shared |= own & seen
        seen |= own
    return shared


def _told_apart(batch: Sequence[_Wanted], shared: set[tuple[str, str, str]]) -> Sequence[_Wanted]:
    """Leave out shared engines: pods of the past are nobody's, so their sum is not one object's."""
    return [
        replace(
            wanted,
            engines=tuple(
                (profile, namespace, model)
                for profile, namespace, model in wanted.engines
                if (profile.name, namespace, model) not in shared
            ),
        )
        for wanted in batch
    ]


def _asked(
    batch: Sequence[_Wanted], step: float
) -> list[tuple[str, Callable[[Mapping[str, str]], tuple[str, str, str]]]]:
    """Expressions, each with what tells from a series' labels whose it is."""
    engines: dict[str, EngineProfile] = {}
    places: dict[str, set[tuple[str, str]]] = {}
    outside: dict[str, ArrivalsProfile] = {}
    values: dict[str, set[str]] = {}
    for wanted in batch:
        for profile, namespace, model in wanted.engines:
            engines[profile.name] = profile
            places.setdefault(profile.name, set()).add((namespace, model))
        if wanted.source is not None:
            outside[wanted.source.profile.name] = wanted.source.profile
            values.setdefault(wanted.source.profile.name, set()).add(wanted.source.value)

    def of_engine(profile: EngineProfile) -> Callable[[Mapping[str, str]], tuple[str, str, str]]:
        return lambda labels: (
            profile.name,
            labels.get(profile.namespace_label, ""),
            labels.get(profile.model_label or "", ""),
        )

    def of_source(profile: ArrivalsProfile) -> Callable[[Mapping[str, str]], tuple[str, str, str]]:
        return lambda labels: (
            f"outside {profile.name}",
            "" if profile.namespace_label is None else labels.get(profile.namespace_label, ""),
            labels.get(profile.name_label, ""),
        )

    return [
        *((queries.history(engines[n], places[n], step), of_engine(engines[n])) for n in engines),
        *(
            (queries.arrivals_history(outside[n], values[n], step), of_source(outside[n]))
            for n in outside
        ),
    ]


def _sort_in(
    counts: _Counts,
    series: Series,
    place: Callable[[Mapping[str, str]], tuple[str, str, str]],
    grid: tuple[float, float, int],
) -> None:
    begin, step, steps = grid
    try:
        labels = series["metric"]
        at, values = np.array(series["values"], dtype=np.float64).T
        of_part = counts.setdefault(place(labels), {}).setdefault(
            labels["part"], np.full(steps, np.nan)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise QueryFailed(f"no series of a range query: {str(series)[:80]}") from error
    index = np.rint((at - begin) / step).astype(np.int64) - 1
    good = (index >= 0) & (index < steps) & np.isfinite(values) & (values >= 0)
    of_part[index[good]] = values[good]


def _past(wanted: _Wanted, counts: _Counts, begin: float, step: float) -> PastTraffic | None:
    """Add up an object's engines; a step that was not seen of any of them is NaN."""
    of_engines = [
        counts[profile.name, namespace, model]
        for profile, namespace, model in wanted.engines
        if (profile.name, namespace, model) in counts
    ]
    requests = _sum([_arrived(parts) for parts in of_engines])
    source = wanted.source
    if source is not None:
        namespace = "" if source.profile.namespace_label is None else source.namespace
        parts = counts.get((f"outside {source.profile.name}", namespace, source.value), {})
        requests = parts.get("received")
    if requests is None or not np.isfinite(requests).any():
        return None
    known = _sum([parts["token_requests"] for parts in of_engines if "token_requests" in parts])
    first = int(np.argmax(np.isfinite(requests)))
    return PastTraffic(
        from_seconds=begin + first * step,
        step_seconds=step,
        requests=requests[first:],
        prompt_tokens_mean=_mean(of_engines, "prompt_tokens", known, requests)[first:],
        output_tokens_mean=_mean(of_engines, "output_tokens", known, requests)[first:],
    )


def _arrived(parts: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64] | None:
    """Arrivals per step of one engine's counts: by conservation, where it has no count of them."""
    received, ended = parts.get("received"), parts.get("ended")
    if received is not None:
        return received
    if ended is None:
        return None
    outstanding = _sum([parts[name] for name in ("running", "waiting") if name in parts])
    arrived = ended + np.nan_to_num(parts.get("refused", np.zeros_like(ended)))
    if outstanding is not None:
        arrived = arrived + np.nan_to_num(np.diff(outstanding, prepend=np.nan))
    return np.maximum(arrived, 0.0)


def _sum(arrays: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    """Sum of what is known; NaN where nothing is."""
    known = [array for array in arrays if array is not None]
    if not known:
        return None
    stacked = np.array(known)
    return np.where(np.isfinite(stacked).any(axis=0), np.nansum(stacked, axis=0), np.nan)


def _mean(
    of_engines: Sequence[Mapping[str, NDArray[np.float64]]],
    name: str,
    known: NDArray[np.float64] | None,
    requests: NDArray[np.float64],
) -> NDArray[np.float64]:
    total = _sum([parts[name] for parts in of_engines if name in parts])
    if total is None or known is None:
        return np.full_like(requests, np.nan)
    some = np.isfinite(known) & (known > 0)
    return np.divide(total, known, out=np.full_like(requests, np.nan), where=some)
