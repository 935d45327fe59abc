"""The solver on a ModelDeployment: its variants are the accelerators that one server may run on.

Every 60 s the load of the last minute is read and the solver picks a variant and its replicas; the
others are desired at 0. It knows no quality, so a cheaper fallback may be chosen outright. In
between, and when metrics are missing, the last answer stays exported. The variants' HPAs sync with
every plan call.
"""

from dataclasses import dataclass, replace

from controller.core.domain.decision import Allocation, Decision
from controller.core.domain.observation import Missing, Observation, PastTraffic, TrafficReading
from controller.core.domain.policy import Policy
from simulations.peers.hpa.behavior import HpaBehavior
from simulations.peers.hpa.law import HpaHistory, HpaOutcome
from simulations.peers.hpa.planner import told
from simulations.peers.inferno.executor import carried_out, created
from simulations.peers.inferno.solver import (
    Accelerator,
    Placement,
    Server,
    candidates,
    chosen,
)
from simulations.peers.inferno.window import Arrivals

#: The controller's optimization interval.
INTERVAL_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InfernoHistory:
    """What the controller and the HPAs remember.

    ``placement`` is the last answer (None: none yet), ``desired`` what is exported of it.
    """

    arrivals: Arrivals
    hpas: tuple[HpaHistory | None, ...]
    placement: Placement | None = None
    desired: Allocation | None = None
    solved_at_seconds: float | None = None


class InfernoPlanner:
    """One server on one of the variants; a variant that is no candidate (None) has no HPA.

    Such a variant stays at its minimum. ``tokens`` are the (prompt, output) means of the user's
    benchmark, taken until any are seen: a model that starts at 0 replicas shows none.
    """

    def __init__(
        self,
        accelerators: tuple[Accelerator | None, ...],
        server: Server,
        behavior: HpaBehavior,
        tokens: tuple[int, int],
    ) -> None:
        self._tokens = tokens
        self._accelerators = accelerators
        self._offered = tuple(one for one in accelerators if one is not None)
        self._server = server
        self._behavior = behavior

    def initial(self, policy: Policy, past: PastTraffic | None) -> InfernoHistory:
        """The controller starts with nothing known."""
        del past
        if len(self._accelerators) != len(policy.variants):
            raise ValueError(
                f"accelerators: {len(self._accelerators)} entries for {len(policy.variants)} "
                f"variants of {policy.namespace}/{policy.name}; give one per variant, None for none"
            )
        return InfernoHistory(
            arrivals=Arrivals(tokens=self._tokens),
            hpas=tuple(None if one is None else created() for one in self._accelerators),
        )

    def plan(
        self, policy: Policy, observation: Observation, history: InfernoHistory, now: float
    ) -> tuple[Decision, InfernoHistory]:
        """Solve where the interval has passed, and let the HPAs follow what is exported."""
        history = self._solved(policy, observation, _seen(history, observation.traffic, now), now)
        observed = tuple(variant.desired for variant in observation.variants)
        desired = observed if history.desired is None else history.desired
        outcomes: list[HpaOutcome | None] = []
        remembered: list[HpaHistory | None] = []
        for position, memory in enumerate(history.hpas):
            if memory is None:
                outcomes.append(None)
                remembered.append(None)
                continue
            outcome, after = carried_out(
                self._behavior,
                policy.variants[position],
                observation.variants[position],
                desired[position],
                memory,
                now,
            )
            outcomes.append(outcome)
            remembered.append(after)
        decision = told(policy, observation, outcomes)
        return decision, replace(history, hpas=tuple(remembered))

    def _solved(
        self, policy: Policy, observation: Observation, history: InfernoHistory, now: float
    ) -> InfernoHistory:
        """The history with a new answer, where it is time for one and the load is known."""
        last = history.solved_at_seconds
        load = history.arrivals.load
        if load is None or (last is not None and now - last < INTERVAL_SECONDS):
            return history
        current = history.placement
        if current is None:
            current = self._running(policy, observation)
        found = candidates(self._server, self._offered, load, current)
        placed = chosen(found)
        if placed is None:
            # Out of reach on every accelerator: what is exported stays.
            return replace(history, solved_at_seconds=now)
        desired = tuple(
            placed.replicas if one is not None and one.name == placed.accelerator else 0
            for one in self._accelerators
        )
        return replace(history, placement=placed, desired=desired, solved_at_seconds=now)

    def _running(self, policy: Policy, observation: Observation) -> Placement:
        """Where the server is found: on the variant that costs most now."""
        found = Placement()
        rows = zip(self._accelerators, policy.variants, observation.variants, strict=True)
        for accelerator, variant, seen in rows:
            cost = variant.cost_per_replica_hour * seen.desired
            if accelerator is not None and cost > found.cost:
                found = Placement(accelerator=accelerator.name, replicas=seen.desired, cost=cost)
        return found


def _seen(history: InfernoHistory, traffic: TrafficReading, now: float) -> InfernoHistory:
    arrivals = history.arrivals.aged(now)
    if not isinstance(traffic, Missing):
        arrivals = arrivals.recorded(traffic)
    return replace(history, arrivals=arrivals)
