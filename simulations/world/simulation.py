"""Replays one scenario under one planner, through the same reconciler as the operator's."""

from time import perf_counter
from typing import Generic

from controller.core.domain.decision import Decision
from controller.core.domain.observation import Observation, PastTraffic
from controller.core.domain.policy import Policy
from controller.ports import HistoryT, Planner
from controller.reconciler import Reconciler
from simulations.results import PolicyResult
from simulations.world.scoring import Scorer
from simulations.world.stepping import step
from simulations.world.world import Setup, World


class _TimedPlanner(Generic[HistoryT]):
    """Times the calls of a planner; the time never reaches the simulation."""

    def __init__(self, planner: Planner[HistoryT]) -> None:
        self._planner = planner
        self.seconds: list[float] = []

    def initial(self, policy: Policy, past: PastTraffic | None) -> HistoryT:
        """As the planner's."""
        return self._planner.initial(policy, past)

    def plan(
        self, policy: Policy, observation: Observation, history: HistoryT, now: float
    ) -> tuple[Decision, HistoryT]:
        """As the planner's, timed."""
        start = perf_counter()
        answer = self._planner.plan(policy, observation, history, now)
        self.seconds.append(perf_counter() - start)
        return answer


def simulate(setup: Setup, planner: Planner[HistoryT], name: str) -> PolicyResult:
    """Replay ``setup`` under ``planner``.

    Raises:
        PortError: a simulated port failed, which none does: outages arrive as missing readings.
    """
    world = World(setup)
    scorer = Scorer(world, name)
    timed = _TimedPlanner(planner)
    reconciler = Reconciler(
        planner=timed, observer=world, archive=world, actuator=world, reporter=world
    )
    for tick in range(scorer.ticks):
        now = setup.origin_seconds + world.seconds
        for failure in step(reconciler.cycle([setup.policy], now)):
            raise failure.error
        if world.decision is not None:
            scorer.decided(tick, world.decision)
        scorer.advance(tick)
    return scorer.result(timed.seconds)
