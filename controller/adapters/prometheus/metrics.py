"""``PrometheusMetrics``: the metrics of all objects in a constant number of queries a cycle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from controller.adapters.directory import Directory
from controller.adapters.prometheus import outside, queries
from controller.adapters.prometheus.engines import EngineProfile
from controller.adapters.prometheus.pods import Engine, edge_of
from controller.adapters.prometheus.profiles import Profiles
from controller.adapters.prometheus.reading import blank, read
from controller.adapters.prometheus.seen import Look, Memory, Source, Subject
from controller.adapters.prometheus.session import Answer, PrometheusClient, QueryFailed
from controller.adapters.prometheus.settings import PrometheusSettings
from controller.adapters.prometheus.snapshot import EdgeBook, Malformed, Snapshot
from controller.core.domain.observation import MissingReason, TrafficReading
from controller.core.domain.policy import ObjectKey
from controller.ports import MetricsQuestion, MetricsReading

#: Bucket edges change when an engine is started with others: they are looked up this often, and
#: more often while those that somebody needs are not known.
_EDGES_SECONDS: Final = 300.0
_UNKNOWN_EDGES_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """Why nothing can be asked for an object."""

    finding: str


class PrometheusMetrics:
    """Implements ``controller.ports.Metrics``.

    A cycle asks one query for each engine in use (three at most: more engines share them), once a
    minute as many for token lengths, and one for arrivals outside the engines. With the recording
    rules it is one, and once a minute two.
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
        self._book = EdgeBook(profiles.engines)
        self._edges_at: float | None = None
        self._learned = False
        self._lengths_at: float | None = None
        self._memories: dict[ObjectKey, Memory] = {}

    async def read(
        self, questions: Sequence[MetricsQuestion], now: float
    ) -> Sequence[MetricsReading]:
        """Return one reading per question. What cannot be read is missing: this never raises."""
        subjects = [self._subject(question) for question in questions]
        keys = {question.policy.key for question in questions}
        self._memories = {key: m for key, m in self._memories.items() if key in keys}
        known = [one for one in subjects if isinstance(one, Subject)]
        look, arrivals = await self._look(known, now)
        return [
            blank(question.policy, MissingReason.ABSENT, one.finding)
            if isinstance(one, _Unreadable)
            else self._reading(one, look, arrivals)
            for question, one in zip(questions, subjects, strict=True)
        ]

    def _subject(self, question: MetricsQuestion) -> Subject | _Unreadable:
        """Look up what serves each variant, and where arrivals are counted."""
        policy = question.policy
        try:
            spec = self._directory.entry(policy.key).deployment.spec
        except KeyError:
            return _Unreadable("the object is gone")
        variants = {variant.name: variant for variant in spec.variants}
        engines = []
        for variant in policy.variants:
            found = variants.get(variant.name)
            if found is None:
                return _Unreadable("the object has changed; it is read anew in the next cycle")
            profile = self._profiles.engines.get(found.engine)
            if profile is None:
                known = ", ".join(sorted(self._profiles.engines))
                return _Unreadable(f"no metrics profile is named {found.engine}; there are {known}")
            model = "" if profile.model_label is None else found.served_model_name
            engines.append(Engine(profile=profile, namespace=policy.namespace, model=model))
        source = None
        if spec.arrivals is not None:
            arrivals = self._profiles.arrivals.get(spec.arrivals.metrics_profile)
            if arrivals is None:
                return _Unreadable(f"no arrivals profile is named {spec.arrivals.metrics_profile}")
            source = Source(profile=arrivals, namespace=policy.namespace, name=spec.arrivals.name)
        return Subject(
            policy=policy, engines=tuple(engines), replicas=question.replicas, arrivals=source
        )

    def _reading(self, subject: Subject, look: Look, arrivals: outside.Arrivals) -> MetricsReading:
        memory = self._memories.setdefault(subject.policy.key, Memory())
        received: TrafficReading | None = None
        if subject.arrivals is not None:
            received = arrivals.traffic(subject.arrivals, memory.outside, look)
        return read(subject, memory, look, received)

    # --- asking ----------------------------------------------------------------------------------

    async def _look(self, subjects: Sequence[Subject], now: float) -> tuple[Look, outside.Arrivals]:
        """Ask everything of this cycle."""
        used = _used(subjects)
        recorded = self._settings.recording_rules
        within = self._settings.cycle_seconds
        learned_edges = await self._learn_edges(subjects, used, now)
        asked = queries.readings(used, self._edges(subjects), recorded=recorded)
        # Never in one cycle with the edges: the queries of a cycle stay few.
        wanted = not learned_edges and _due(self._lengths_at, self._settings.lengths_seconds, now)
        lengths = queries.lengths(used, recorded=recorded) if wanted else queries.Queries(())
        sources = [one.arrivals for one in subjects if one.arrivals is not None]
        counted = outside.expression(sources)
        answers = await self._client.query(
            [*asked.expressions, *lengths.expressions, *counted],
            now,
            within_seconds=within / 2 if learned_edges else within,
        )
        first, second = len(asked.expressions), len(asked.expressions) + len(lengths.expressions)
        snapshot, failures = self._sorted_in(asked, answers[:first])
        seen_lengths = None
        if wanted:
            seen_lengths, failed = self._sorted_in(lengths, answers[first:second])
            if not failed:
                self._lengths_at = now
        look = Look(
            snapshot=snapshot,
            lengths=seen_lengths,
            book=self._book,
            failures=failures,
            now=now,
            scrape_interval_seconds=self._settings.scrape_interval_seconds,
        )
        return look, outside.Arrivals.of(answers[second:])

    async def _learn_edges(
        self, subjects: Sequence[Subject], used: Sequence[EngineProfile], now: float
    ) -> bool:
        """Look up which bucket edges there are, now and then; returns whether it was asked."""
        every = _EDGES_SECONDS if self._knows_edges(subjects) else _UNKNOWN_EDGES_SECONDS
        asked = queries.edges(used, recorded=self._settings.recording_rules)
        # Not in two cycles in a row: lengths are read in the others.
        last, self._learned = self._learned, False
        if last or not asked.expressions or not _due(self._edges_at, every, now):
            return False
        self._learned = True
        answers = await self._client.query(
            asked.expressions, now, within_seconds=self._settings.cycle_seconds / 2
        )
        book = EdgeBook(self._profiles.engines)
        for answer in answers:
            if isinstance(answer, QueryFailed):
                return True  # those known before stay; it is asked again in the next cycle
            try:
                book.add(answer)
            except Malformed:
                return True
        self._book, self._edges_at = book, now
        return True

    def _knows_edges(self, subjects: Sequence[Subject]) -> bool:
        """Whether the edges of every histogram that somebody reads are known."""
        return all(
            self._book.knows(family, engine.profile, engine.namespace, engine.model)
            for subject in subjects
            for engine in subject.engines
            for family in ("ttft", "tpot")
            if getattr(engine.profile, family)
        )

    def _edges(self, subjects: Sequence[Subject]) -> queries.Edges:
        """Collect the edges at which somebody reads."""
        texts: dict[str, set[str]] = {"ttft": set(), "tpot": set(), "gaps": set()}
        for subject in subjects:
            slo = subject.policy.slo
            for engine in subject.engines:
                for family, seconds in (
                    ("ttft", slo.ttft_seconds),
                    ("tpot", slo.tpot_seconds),
                    ("gaps", slo.tpot_seconds),
                ):
                    edge = edge_of(family, engine, seconds, self._book)
                    if edge is not None:
                        texts[family] |= self._book.texts(
                            family, engine.profile.name, engine.namespace, engine.model, edge
                        )
        return queries.Edges(
            ttft=frozenset(texts["ttft"]), tpot=frozenset(texts["tpot"] | texts["gaps"])
        )

    def _sorted_in(
        self, asked: queries.Queries, answers: Sequence[Answer]
    ) -> tuple[Snapshot, Mapping[str, QueryFailed]]:
        """Sort answers by pod; what failed is told by profile."""
        snapshot = Snapshot(self._profiles.engines)
        failures: dict[str, QueryFailed] = {}
        for profiles, answer in zip(asked.profiles, answers, strict=True):
            failure = answer if isinstance(answer, QueryFailed) else None
            if not isinstance(answer, QueryFailed):
                try:
                    snapshot.add(answer)
                except Malformed as error:
                    failure = QueryFailed(str(error))
            if failure is not None:
                failures |= dict.fromkeys(profiles, failure)
        return snapshot, failures


def _used(subjects: Sequence[Subject]) -> list[EngineProfile]:
    """The profiles that somebody's variant is served by, in the order of their names."""
    used = {engine.profile.name: engine.profile for one in subjects for engine in one.engines}
    return [used[name] for name in sorted(used)]


def _due(last: float | None, every_seconds: float, now: float) -> bool:
    return last is None or now - last >= every_seconds
