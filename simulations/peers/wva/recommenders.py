"""The WVA's two saturation engines over the variants it manages: from scrapes to replicas."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from controller.core.domain.observation import VariantObservation
from controller.core.domain.variant import Variant
from controller.core.performance.mix import TokenMix
from simulations.peers.wva.capacity_v2 import (
    CapacityMemory,
    EngineArguments,
    EngineMetrics,
    WvaVariant,
)
from simulations.peers.wva.optimizer import Candidate, optimized
from simulations.peers.wva.release import Release
from simulations.peers.wva.saturation_v1 import (
    ReplicaLoad,
    Thresholds,
    VariantState,
    recommended,
)
from simulations.peers.wva.saturation_v2 import Analyzer, Replicas, analyzed
from simulations.peers.wva.scrapes import Scrapes


@dataclass(frozen=True, slots=True, kw_only=True)
class Managed:
    """A variant that the WVA manages, at a decision. ``desired`` None: none was recommended yet."""

    variant: Variant
    seen: VariantObservation
    scrapes: Scrapes
    desired: int | None

    @property
    def pending(self) -> int:
        """Replicas asked for that are not Ready."""
        return max(0, self.seen.desired - self.seen.ready)

    @property
    def kept(self) -> int:
        """What stays recommended when nothing is."""
        return self.seen.desired if self.desired is None else self.desired


class Recommender(Protocol):
    """One of the WVA's saturation engines."""

    def recommend(
        self, fleet: Sequence[Managed], memory: CapacityMemory, now: float
    ) -> tuple[Mapping[str, int], CapacityMemory]:
        """Replicas by variant; a variant left out keeps its recommendation."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SaturationV1:
    """Spare room; it moves only variants that have replicas, and remembers nothing."""

    thresholds: Thresholds

    def recommend(
        self,
        fleet: Sequence[Managed],
        memory: CapacityMemory,
        now: float,  # noqa: ARG002 - V2 needs it
    ) -> tuple[Mapping[str, int], CapacityMemory]:
        """Recommend replicas for the variants that report."""
        loads = [
            ReplicaLoad(
                one.variant.name,
                tokens / one.variant.profile.kv_capacity_tokens,
                waiting,
                one.variant.cost_per_replica_hour,
            )
            for one in fleet
            for tokens, waiting in one.scrapes.replicas()
        ]
        states = [
            VariantState(
                name=one.variant.name,
                current=one.seen.desired,
                pending=one.pending,
                desired=one.desired or 0,
                min_replicas=one.variant.min_replicas,
                max_replicas=one.variant.max_replicas,
            )
            for one in fleet
        ]
        return recommended(Release.NEW, states, loads, self.thresholds), memory


@dataclass(frozen=True, slots=True, kw_only=True)
class SaturationV2:
    """Tokens asked for against tokens that fit; ``mix`` stands in until requests were answered.

    Variants are told apart as accelerators are: capacities are not shared among them.
    """

    analyzer: Analyzer
    mix: TokenMix

    def recommend(
        self, fleet: Sequence[Managed], memory: CapacityMemory, now: float
    ) -> tuple[Mapping[str, int], CapacityMemory]:
        """Recommend replicas for all variants, or none while no replica reports."""
        engines = [metrics for one in fleet for metrics in self._metrics(one)]
        counted = [
            (_wva_variant(one.variant), Replicas(one.seen.desired, one.pending)) for one in fleet
        ]
        analysis, memory = analyzed(self.analyzer, counted, engines, memory, now)
        if analysis is None:
            return {}, memory
        candidates = [
            Candidate(
                name=one.variant.name,
                replicas=one.seen.desired,
                capacity=capacity.capacity,
                cost=capacity.cost,
                min_replicas=one.variant.min_replicas,
                max_replicas=one.variant.max_replicas,
            )
            for one, capacity in zip(fleet, analysis.capacities, strict=True)
        ]
        balance = analysis.balance
        targets = optimized(self.analyzer.release, candidates, balance.required, balance.spare)
        return targets, memory

    def _metrics(self, one: Managed) -> list[EngineMetrics]:
        prompt, output = one.scrapes.lengths(self.mix)
        return [
            EngineMetrics(
                variant=one.variant.name,
                total_tokens=one.variant.profile.kv_capacity_tokens,
                used_tokens=tokens,
                waiting=waiting,
                prompt_mean=prompt,
                output_mean=output,
            )
            for tokens, waiting in one.scrapes.replicas()
        ]


def _wva_variant(variant: Variant) -> WvaVariant:
    return WvaVariant(
        name=variant.name,
        accelerator=variant.name,
        gpus=variant.gpus_per_replica,
        cost=variant.cost_per_replica_hour,
        deployment=EngineArguments(
            batched_tokens=variant.profile.max_batched_tokens,
            max_running=variant.profile.max_running,
        ),
    )
