"""AIBrix's GPU optimizer over all variants of a ModelDeployment, each a kind of GPU.

It optimises every 10 s; here once every plan call. What it finds is a metric per variant, in
hundredths of a replica, that the variant's PodAutoscaler (strategy KPA) follows with a target of
100, and whose dead band keeps any number of replicas while the metric is within 10 % of that.
With the metrics missing the metric keeps its value, as the optimizer does when the gateway writes
nothing that it can read; with nothing but silence it is the minimum. The first Primary's minimum
is at least 1: sizes are known of answered requests only, so a model at 0 would never come back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from controller.core.domain.decision import Allocation, Decision, Reason
from controller.core.domain.observation import Missing, Observation, PastTraffic
from controller.core.domain.policy import Policy
from controller.core.domain.variant import Role, Variant
from simulations.peers.account import peer_decision
from simulations.peers.aibrix.law import AibrixHistory, AibrixSpec, Strategy, decide, started
from simulations.peers.aibrix.optimizer_clusters import clusters
from simulations.peers.aibrix.optimizer_profile import nearest_cell, throughputs
from simulations.peers.aibrix.optimizer_program import PARTS, Bucket, cheapest_parts, replicas
from simulations.peers.aibrix.optimizer_sizes import SizeWindow


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerHistory:
    """The window of sizes, the metric per variant (None: not asked yet), and the autoscalers'."""

    window: SizeWindow
    autoscalers: tuple[AibrixHistory, ...]
    parts: tuple[int, ...] | None = None


class OptimizerPlanner:
    """``tested`` are the variants as their benchmark found them, in the policy's order.

    ``autoscaled`` False takes the optimizer's replicas at once. ``target_parts`` are hundredths of
    a replica per replica: less than 100 leaves room. ``percentile`` of the requests meet the SLO
    in the profile.
    """

    def __init__(
        self,
        tested: tuple[Variant, ...],
        *,
        target_parts: float,
        percentile: float,
        autoscaled: bool,
    ) -> None:
        self._tested = tested
        self._target = target_parts
        self._percentile = percentile
        self._autoscaled = autoscaled

    def initial(self, policy: Policy, past: PastTraffic | None) -> OptimizerHistory:
        """The optimizer starts with an empty window."""
        del past
        if len(self._tested) != len(policy.variants):
            raise ValueError(
                f"tested: {len(self._tested)} entries for {len(policy.variants)} variants of "
                f"{policy.namespace}/{policy.name}; give one per variant"
            )
        return OptimizerHistory(
            window=SizeWindow(),
            autoscalers=tuple(
                started(self._spec(variant, low))
                for variant, low in zip(policy.variants, _minimums(policy), strict=True)
            ),
        )

    def plan(
        self, policy: Policy, observation: Observation, history: OptimizerHistory, now: float
    ) -> tuple[Decision, OptimizerHistory]:
        """Optimise on what the window holds, and let the autoscalers follow."""
        traffic = observation.traffic
        blind = isinstance(traffic, Missing)
        if not isinstance(traffic, Missing):
            window = history.window.moved(now).recorded(traffic, now)
            parts = self._optimised(policy, window)
            history = replace(history, window=window, parts=parts or history.parts)
        observed = tuple(variant.desired for variant in observation.variants)
        parts = history.parts or tuple(PARTS * count for count in observed)
        if self._autoscaled:
            proposed, after, autoscalers = self._followed(policy, observed, parts, history, now)
            history = replace(history, autoscalers=autoscalers)
        else:
            proposed = after = tuple(replicas(count, self._target) for count in parts)
        decision = peer_decision(
            policy,
            observed,
            proposed,
            _limits(policy, after),
            Reason.METRICS_MISSING if blind else None,
        )
        return decision, history

    def _optimised(self, policy: Policy, window: SizeWindow) -> tuple[int, ...] | None:
        """The metric of every variant; None where too little is known to say anything."""
        if window.empty:
            # As written: the minimum is exported as it is, not in hundredths.
            return _minimums(policy)
        cells: dict[tuple[int, int], float] = {}
        for cluster in clusters(window.counts()):
            cell = nearest_cell(cluster.prompt, cluster.output)
            cells[cell] = cells.get(cell, 0.0) + cluster.requests
        if not cells:
            return None
        return cheapest_parts(
            tuple(variant.cost_per_replica_hour for variant in policy.variants),
            self._buckets(policy, cells, window.requests_per_second),
        )

    def _buckets(
        self, policy: Policy, cells: Mapping[tuple[int, int], float], rate: float
    ) -> tuple[Bucket, ...]:
        """Share the whole rate out by the clusters; sizes in none of them add to all alike."""
        slo = replace(policy.slo, target=self._percentile / 100.0)
        clustered = sum(cells.values())
        return tuple(
            Bucket(
                rate * requests / clustered,
                throughputs(self._tested, slo, cell),
            )
            for cell, requests in sorted(cells.items())
        )

    def _followed(
        self,
        policy: Policy,
        observed: Allocation,
        parts: tuple[int, ...],
        history: OptimizerHistory,
        now: float,
    ) -> tuple[Allocation, Allocation, tuple[AibrixHistory, ...]]:
        """Recommendations and decisions of the PodAutoscalers, and what they remember."""
        proposed, after, remembered = [], [], []
        minimums = _minimums(policy)
        rows = zip(policy.variants, minimums, observed, parts, history.autoscalers, strict=True)
        for variant, low, count, value, memory in rows:
            recommendation, desired, kept = decide(
                self._spec(variant, low), memory, count, [[float(value)]], now
            )
            proposed.append(count if recommendation is None else recommendation)
            after.append(count if desired is None else desired)
            remembered.append(kept)
        return tuple(proposed), tuple(after), tuple(remembered)

    def _spec(self, variant: Variant, min_replicas: int) -> AibrixSpec:
        return AibrixSpec(
            strategy=Strategy.KPA,
            targets=(self._target,),
            min_replicas=min_replicas,
            max_replicas=variant.max_replicas,
        )


def _minimums(policy: Policy) -> Allocation:
    """Minimum of every variant."""
    kept = policy.indices(Role.PRIMARY)[0]
    return tuple(
        max(variant.min_replicas, int(position == kept))
        for position, variant in enumerate(policy.variants)
    )


def _limits(policy: Policy, after: Allocation) -> list[tuple[Reason, Allocation]]:
    """The cooldown, then every variant's own range."""
    at_most = tuple(
        min(count, variant.max_replicas)
        for count, variant in zip(after, policy.variants, strict=True)
    )
    at_least = tuple(max(count, low) for count, low in zip(at_most, _minimums(policy), strict=True))
    return [
        (Reason.STABILIZATION_WINDOW, after),
        (Reason.MAX_REPLICAS, at_most),
        (Reason.MIN_REPLICAS, at_least),
    ]
