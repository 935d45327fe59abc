"""Builders: the sample's ModelDeployment, what was seen of it, and what was decided."""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from controller.adapters.directory import Entry
from controller.adapters.kubernetes.judging import Judged, judge
from controller.api.conversion.policy import to_policy
from controller.api.prices import REFERENCE_PRICES
from controller.api.status import Status
from controller.api.v1alpha1 import parse
from controller.core.domain.decision import (
    Decision,
    DecisionStep,
    ForecastSummary,
    Reason,
    Stage,
    Standing,
)
from controller.core.domain.observation import (
    Missing,
    MissingReason,
    Observation,
    Outcomes,
    Traffic,
    VariantObservation,
)
from controller.ports import Planned, PortError, Report

#: Unix time at which the tests begin.
NOW = 1_743_465_600.0

Document = dict[str, Any]

_SAMPLE = yaml.safe_load(
    (Path(__file__).parents[2] / "manifests/samples/interactive-chat.yaml").read_text()
)


def document(
    name: str = "llama", namespace: str = "serving", *, mode: str = "Auto", **metadata: Any
) -> Document:
    """The sample's object, bf16 Primary and fp8 Fallback, in another mode."""
    made: Document = copy.deepcopy(_SAMPLE)
    made["metadata"] = {"name": name, "namespace": namespace, **metadata}
    made["spec"]["mode"] = mode
    return made


def entry(body: Mapping[str, Any], status: Status | None = None) -> Entry:
    """An object as the store has it."""
    deployment = parse(body)
    return Entry(
        deployment=deployment,
        policy=to_policy(deployment, REFERENCE_PRICES, 15.0),
        resource_version="1",
        status=status,
    )


def named(name: str = "llama", namespace: str = "serving", **options: Any) -> Entry:
    """The sample's object, with a uid of its name and generation 1 where none are given."""
    known = {"uid": f"uid-{name}", "generation": 1} | options
    return entry(document(name, namespace, **known))


def standing(count: int, attainment: float) -> Standing:
    """How an object of ``count`` variants does."""
    return Standing(
        attainment=(attainment, attainment),
        errors_left=0.4,
        quality_left=0.9,
        forecast_error=0.12,
        forecast_coverage=(0.95, 0.94),
        cold_start_seconds=(118.0,) * count,
        capacities=(24.0,) * count,
        static_peak_cost_per_hour=48.0,
    )


def planned(
    of: Entry,
    wanted: Sequence[int] = (4, 0),
    *,
    seen: Sequence[int] | None = None,
    ready: Sequence[int] | None = None,
    weights: Sequence[float] | None = None,
    steps: Sequence[Reason] = (),
    blind: bool = False,
    degraded: bool = False,
    attainment: float = 0.9951,
) -> Planned:
    """A decision for ``wanted`` replicas, made where ``seen`` were desired and all were Ready.

    ``blind`` has seen nothing of traffic; ``degraded`` saw a fallback serve.
    """
    desired = tuple(wanted if seen is None else seen)
    gone = Missing(MissingReason.STALE)
    times = {"from_seconds": NOW - 65.0, "to_seconds": NOW - 5.0}
    observation = Observation(
        workloads_at_seconds=NOW,
        variants=tuple(
            VariantObservation(desired=n, ready=r)
            for n, r in zip(desired, desired if ready is None else ready, strict=True)
        ),
        traffic=gone
        if blind
        else Traffic(
            **times,
            requests=300.0,
            refused=0.0,
            token_requests=300.0,
            prompt_tokens=300_000.0,
            output_tokens=60_000.0,
        ),
        outcomes=gone
        if blind
        else Outcomes(
            **times,
            ended=1000.0,
            failed=1.0,
            bad_ttft=2.0,
            bad_tpot=3.0,
            degraded=40.0 if degraded else 0.0,
        ),
    )
    decision = Decision(
        allocation=tuple(wanted),
        weights=None if weights is None else tuple(weights),
        steps=tuple(
            DecisionStep(Stage.OPTIMISE, reason, desired, tuple(wanted)) for reason in steps
        ),
        binding=Reason.CHEAPEST_WITHIN_BUDGETS,
        forecast=None
        if blind
        else ForecastSummary(
            source="regression",
            horizon_seconds=150.0,
            level_requests_per_second=21.0,
            quantiles=((0.5, 20.0), (0.95, 27.0)),
            requests_per_reference=1.0,
            trusted=True,
            changed_decision=False,
        ),
        cost_per_hour=4.0 * sum(wanted),
        standing=standing(len(desired), attainment),
    )
    return Planned(policy=of.policy, observation=observation, decision=decision)


def judged(of: Entry, problem: PortError | None = None, **options: Any) -> Judged:
    """What follows from such a decision, carried out unless ``problem`` says why not."""
    report = Report(planned=planned(of, **options), problem=problem)
    return judge(report, of, problem, "")


class Ports:
    """Stands for the API server: keeps what was written, and refuses as it is told."""

    def __init__(self) -> None:
        self.patches: list[tuple[str, Sequence[Document]]] = []
        self.created: list[Document] = []
        self.refuses: Callable[[str], PortError | None] = lambda _: None

    async def run(self, call: Callable[..., Any], *arguments: Any, **named_: Any) -> Any:
        """Call at once, in this thread."""
        return call(*arguments, **named_)

    def patch(self, path: str, operations: Sequence[Document]) -> Document:
        """Keep a patch."""
        if (problem := self.refuses(path)) is not None:
            raise problem
        self.patches.append((path, operations))
        return {}

    def create(self, path: str, body: Document) -> Document:
        """Keep an object."""
        if (problem := self.refuses(path)) is not None:
            raise problem
        self.created.append(body)
        return body
