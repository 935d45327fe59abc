"""The decision: forecast, then performance, then optimise, then guard. Data flows one way.

``SteelyardPlanner.plan`` is pure: the same arguments give the same answer, and everything it
remembers is in the history it returns.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.decision import (
    Allocation,
    Decision,
    DecisionStep,
    ForecastSummary,
    Reason,
    Stage,
)
from controller.core.domain.observation import (
    Missing,
    Observation,
    PastTraffic,
    Traffic,
)
from controller.core.domain.policy import Mode, OnExhausted, Policy, RoutingLaw
from controller.core.domain.variant import Role
from controller.core.forecasting import forecaster
from controller.core.forecasting.forecaster import Forecast
from controller.core.guards import (
    behavior,
    blindness,
    bounds,
    hold,
    replacement,
    saturation,
    schedules,
    shortage,
)
from controller.core.guards.context import Guard, GuardContext, Verdict
from controller.core.history import History, cold_start_p90, remember_cold_starts
from controller.core.optimizer.choice import Choice, choose, cost_per_hour
from controller.core.optimizer.demand import nodes
from controller.core.optimizer.pacing import Ledger, Prices, prices
from controller.core.performance.capacity import FleetCapacity, fleet_capacity
from controller.core.performance.learning import CapacityLearning
from controller.core.performance.lengths import TokenLengths
from controller.core.performance.mix import TokenMix
from controller.core.performance.work import RecentTokens, reference_requests

#: Seconds of arrivals that the reactive floor stands on.
REACTIVE_WINDOW_SECONDS = 30.0
#: Grid of the mixes that capacity is worked out for. It may be coarse, since demand is told in work
#: and a fleet's capacity in work hardly moves with the mix.
MIX_STEP = 0.08
#: Fleet over which the cost of serving one request is reckoned.
REFERENCE_FLEET = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerSettings:
    """What an ablation may switch off.

    ``regression`` False leaves plain persistence with its calibrated spread. ``fallback`` False
    never uses a fallback.
    """

    regression: bool = True
    fallback: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outlook:
    """What the optimiser needs to know: the forecast, the fleet and the price of a miss.

    ``fleet`` is by the profiles; ``factor`` is by how much the replicas have shown themselves
    faster (above 1) or slower. The forecast is in requests of the reference tokens;
    ``per_reference`` converts to requests of the present mix, as ``recent_rate`` is.
    """

    forecast: Forecast
    fleet: FleetCapacity
    factor: float
    per_reference: float
    prices: Prices
    recent_rate: float

    def quantiles(self) -> NDArray[np.float64]:
        """The forecast's quantiles in requests/s of the present mix."""
        return self.forecast.quantiles * self.per_reference

    def persistence_quantiles(self) -> NDArray[np.float64]:
        """Plain persistence's, likewise."""
        return self.forecast.persistence_quantiles * self.per_reference

    def carries(self, allocation: Allocation) -> float:
        """Arrival rate the allocation carries within the SLO, in requests/s."""
        return self.fleet.capacity(allocation) * self.factor


@dataclass(slots=True)
class _Trail:
    """The allocation under decision and the steps that led to it."""

    allocation: Allocation
    steps: list[DecisionStep]

    def apply(self, stage: Stage, verdict: Verdict) -> None:
        """Take a verdict over, and note it if it changed anything."""
        if verdict.allocation != self.allocation:
            self.steps.append(
                DecisionStep(stage, verdict.reason, self.allocation, verdict.allocation)
            )
            self.allocation = verdict.allocation


class SteelyardPlanner:
    """Sets the replicas of every variant so that the SLOs hold at the least cost."""

    def __init__(self, settings: PlannerSettings | None = None) -> None:
        self._settings = settings or PlannerSettings()

    def initial(self, policy: Policy, past: PastTraffic | None) -> History:
        """History of an object never seen before, its forecaster fed with ``past``."""
        if past is not None:
            past = _past_as_work(policy, past)
        return History(
            seen_since_seconds=None,
            traffic_at_seconds=None,
            forecast=forecaster.initial(
                past,
                horizons_seconds=(_lead_seconds(policy, tuple(() for _ in policy.variants)),),
                target_attainment=1.0 - policy.slo.planned_miss_share,
                regression=self._settings.regression,
            ),
            tokens=RecentTokens(),
            lengths=TokenLengths(),
            learning=CapacityLearning(),
            ledger=Ledger(),
            cold_starts=tuple(() for _ in policy.variants),
        )

    def plan(
        self, policy: Policy, observation: Observation, history: History, now: float
    ) -> tuple[Decision, History]:
        """Decide the allocation at Unix time ``now``; see ``controller.ports.Planner``."""
        current = tuple(variant.desired for variant in observation.variants)
        if policy.mode is Mode.OFF:
            return _kept(policy, current, Stage.OBSERVE, Reason.MODE_OFF), history
        history = _observed(policy, observation, history, now)
        cold_starts = cold_start_p90(policy, history.cold_starts)
        outlook = self._outlook(policy, history, now)
        if outlook is None:
            return self._blind_start(policy, observation, history, now, current), history
        history = replace(history, learning=_learned(observation, history.learning, outlook))
        limits = self._limits(policy)
        choice = _choice(policy, observation, outlook, outlook.quantiles(), now, limits)
        trail = _Trail(current, [])
        trail.apply(Stage.OPTIMISE, Verdict(choice.best.allocation, choice.reason))
        hold_seconds = tuple(cold + 2.0 * policy.tick_seconds for cold in cold_starts)
        context = _context(policy, observation, history, now, current, hold_seconds, outlook)
        history = _guarded(trail, context, history, outlook)
        decision = _decision(policy, trail, choice, outlook)
        changed = outlook.forecast.source != "persistence" and _persistence_differs(
            policy, observation, outlook, choice, now, limits
        )
        return replace(decision, forecast=_summary(outlook, now, changed=changed)), history

    def _blind_start(
        self,
        policy: Policy,
        observation: Observation,
        history: History,
        now: float,
        current: Allocation,
    ) -> Decision:
        """Nothing was ever seen: keep what there is, within bounds."""
        context = GuardContext(
            policy=policy,
            observation=observation,
            now=now,
            current=current,
            hold_seconds=tuple(0.0 for _ in current),
            seen_since_seconds=history.seen_since_seconds or now,
            recommended=(),
            covers=None,
        )
        step = DecisionStep(Stage.OBSERVE, Reason.METRICS_MISSING, current, current)
        trail = _Trail(current, [step])
        trail.apply(Stage.GUARD, saturation.saturation(context, current))
        for bound in _BOUNDS:
            trail.apply(Stage.GUARD, bound(context, trail.allocation))
        return replace(
            _kept(policy, trail.allocation, Stage.OBSERVE, Reason.METRICS_MISSING),
            steps=tuple(trail.steps),
        )

    def _limits(self, policy: Policy) -> Allocation:
        """Highest replicas per variant that the settings allow."""
        return tuple(
            variant.max_replicas
            if self._settings.fallback or variant.role is Role.PRIMARY
            else variant.min_replicas
            for variant in policy.variants
        )

    def _outlook(
        self,
        policy: Policy,
        history: History,
        now: float,
    ) -> _Outlook | None:
        """Forecast one cold start ahead and the fleet's capacity at the present mix."""
        if history.traffic_at_seconds is None and not history.forecast.seen:
            return None
        # The forecast runs from the end of what was seen, so the lead holds the sample's age.
        age = now - (history.traffic_at_seconds or now)
        horizon = _lead_seconds(policy, history.cold_starts) - policy.tick_seconds + age
        forecast = forecaster.forecast(history.forecast, horizon, now)
        mix = _mix(history)
        if forecast is None or mix is None:
            return None
        fleet = fleet_capacity(policy.variants, policy.slo, policy.routing, mix)
        factor = history.learning.factor
        cost_per_request = _cost_per_request(policy, fleet) / factor
        profile = policy.variants[policy.indices(Role.PRIMARY)[0]].profile
        per_reference = 1.0 / reference_requests(profile, mix.prompt_mean, mix.output_mean)
        recent = forecaster.recent_rate(history.forecast, REACTIVE_WINDOW_SECONDS) * per_reference
        return _Outlook(
            forecast=forecast,
            fleet=fleet,
            factor=factor,
            per_reference=per_reference,
            prices=prices(policy, history.ledger, cost_per_request, max(recent, 1e-3)),
            recent_rate=recent,
        )


def _observed(policy: Policy, observation: Observation, history: History, now: float) -> History:
    """Take in what was seen; what is missing teaches nothing."""
    traffic = observation.traffic
    state, traffic_at = history.forecast, history.traffic_at_seconds
    tokens, lengths = history.tokens, history.lengths
    if isinstance(traffic, Traffic):
        lead = _lead_seconds(policy, history.cold_starts)
        tokens, lengths = tokens.after(traffic), lengths.after(traffic)
        state = forecaster.observe(
            state, _as_work(policy, traffic, tokens), now, horizons_seconds=(lead,)
        )
        traffic_at = traffic.to_seconds
    return replace(
        history,
        seen_since_seconds=now
        if history.seen_since_seconds is None
        else history.seen_since_seconds,
        traffic_at_seconds=traffic_at,
        forecast=state,
        tokens=tokens,
        lengths=lengths,
        ledger=history.ledger.record(observation.outcomes, policy.slo.window_seconds),
        cold_starts=remember_cold_starts(history.cold_starts, observation.variants),
    )


def _lead_seconds(policy: Policy, cold_starts: tuple[tuple[float, ...], ...]) -> float:
    """From the end of what was seen to the earliest time a Primary started now can serve.

    That is the usual age of a sample (one tick), the Primary's cold start and one tick more.
    """
    measured = cold_start_p90(policy, cold_starts)
    longest = max(measured[v] for v in policy.indices(Role.PRIMARY))
    return longest + 2.0 * policy.tick_seconds


def _cost_per_request(policy: Policy, fleet: FleetCapacity) -> float:
    """Cost of serving one request on a well-used fleet of the first Primary variant."""
    primary = policy.indices(Role.PRIMARY)[0]
    counts = tuple(REFERENCE_FLEET if v == primary else 0 for v in range(len(policy.variants)))
    return cost_per_hour(policy, counts) / 3600.0 / fleet.capacity(counts)


def _as_work(policy: Policy, traffic: Traffic, tokens: RecentTokens) -> Traffic:
    """The traffic with its requests weighed by their work; without known tokens as it is."""
    if tokens.prompt is None or tokens.output is None:
        return traffic
    profile = policy.variants[policy.indices(Role.PRIMARY)[0]].profile
    weight = reference_requests(profile, tokens.prompt, tokens.output)
    return replace(traffic, requests=traffic.requests * weight)


def _past_as_work(policy: Policy, past: PastTraffic) -> PastTraffic:
    """Past traffic weighed likewise; steps of unknown tokens take the mean of the others."""
    prompt, output = past.prompt_tokens_mean, past.output_tokens_mean
    known = np.isfinite(prompt) & np.isfinite(output)
    if not known.any():
        return past
    prompt = np.where(known, prompt, np.mean(prompt[known]))
    output = np.where(known, output, np.mean(output[known]))
    profile = policy.variants[policy.indices(Role.PRIMARY)[0]].profile
    weights = [
        reference_requests(profile, p, o)
        for p, o in zip(prompt.tolist(), output.tolist(), strict=True)
    ]
    return replace(past, requests=past.requests * np.array(weights))


def _mix(history: History) -> TokenMix | None:
    """The recent token mix, rounded so that capacity tables are reused; None while unknown."""
    prompt, output = forecaster.token_means(history.forecast)
    if not (np.isfinite(prompt) and np.isfinite(output)):
        return None
    # A window's sums may be cut off mid-request; no request has less than a token either way.
    prompt, output = max(prompt, 1.0), max(output, 1.0)
    return TokenMix.from_means(prompt, output, history.lengths.shape).rounded(MIX_STEP)


def _learned(
    observation: Observation, learning: CapacityLearning, outlook: _Outlook
) -> CapacityLearning:
    """Correct the capacity by outstanding against predicted outstanding."""
    outstanding = 0.0
    for seen in observation.variants:
        if seen.ready == 0:
            continue
        if isinstance(seen.running, Missing) or isinstance(seen.waiting, Missing):
            return learning
        outstanding += seen.running.value + seen.waiting.value
    ready = tuple(seen.ready for seen in observation.variants)
    if isinstance(observation.traffic, Missing) or not any(ready):
        return learning
    return learning.update(
        outlook.fleet, ready, outlook.recent_rate, outstanding, observation.traffic.to_seconds
    )


def _choice(
    policy: Policy,
    observation: Observation,
    outlook: _Outlook,
    quantiles: np.ndarray,
    now: float,
    highest: Allocation,
) -> Choice:
    """The cheapest allocation for the demand that ``quantiles`` describe."""
    reachable = shortage.reachable(policy, observation.variants, now)
    low = tuple(variant.min_replicas for variant in policy.variants)
    short = any(
        reachable[v] < policy.variants[v].max_replicas for v in policy.indices(Role.PRIMARY)
    )
    useful = highest if short else _useful(policy, highest, outlook.prices)
    high = tuple(
        max(least, min(most, allowed))
        for least, most, allowed in zip(low, reachable, useful, strict=True)
    )
    demand = nodes(outlook.forecast.levels, quantiles)
    return choose(policy, outlook.fleet, demand.over(outlook.factor), outlook.prices, (low, high))


def _useful(policy: Policy, highest: Allocation, prices: Prices) -> Allocation:
    """Highest counts worth looking at: no more fallbacks than the quality budget lets serve.

    Where all variants share their traffic, a fallback's share is about its share of the replicas.
    Under ``Degrade`` and the other laws nothing is ruled out beforehand.
    """
    shared = policy.routing.law in {RoutingLaw.SHARED, RoutingLaw.WEIGHTED}
    if not shared or policy.quality.on_exhausted is OnExhausted.DEGRADE:
        return highest
    primaries = sum(highest[v] for v in policy.indices(Role.PRIMARY))
    share = min(2.0 * prices.degraded_share_allowed, 1.0)
    return tuple(
        min(count, ceil(share * primaries)) if variant.role is Role.FALLBACK else count
        for variant, count in zip(policy.variants, highest, strict=True)
    )


def _context(
    policy: Policy,
    observation: Observation,
    history: History,
    now: float,
    current: Allocation,
    hold_seconds: tuple[float, ...],
    outlook: _Outlook,
) -> GuardContext:
    rate = outlook.recent_rate
    covers: Callable[[Allocation], bool] | None = None
    if isinstance(observation.traffic, Traffic) and np.isfinite(rate):

        def covers(allocation: Allocation) -> bool:
            return outlook.carries(allocation) >= rate

    return GuardContext(
        policy=policy,
        observation=observation,
        now=now,
        current=current,
        hold_seconds=hold_seconds,
        seen_since_seconds=history.seen_since_seconds or now,
        recommended=history.recommended,
        covers=covers,
    )


#: Guards that need nothing but the context, in the order they run.
_GUARDS: tuple[Guard, ...] = (
    hold.hold,
    hold.restart,
    behavior.stabilization,
    replacement.replacement,
)
_BOUNDS: tuple[Guard, ...] = (
    schedules.schedule_floor,
    schedules.schedule_ceiling,
    bounds.minimum,
    bounds.cost_limit,
    bounds.gpu_limit,
    bounds.maximum,
)


def _guarded(trail: _Trail, context: GuardContext, history: History, outlook: _Outlook) -> History:
    """Run the guards over the recommendation, and remember it and what came of it."""
    now = context.now
    if isinstance(context.observation.traffic, Missing):
        blind_seconds = now - (history.traffic_at_seconds or now)
        trail.apply(
            Stage.GUARD,
            blindness.blind(
                context,
                trail.allocation,
                blind_seconds,
                forecast_trusted=outlook.forecast.trusted,
            ),
        )
        trail.apply(Stage.GUARD, saturation.saturation(context, trail.allocation))
    else:
        trail.apply(Stage.GUARD, _reactive(context, trail.allocation, outlook))
    recommended = trail.allocation
    for guard in _GUARDS:
        trail.apply(Stage.GUARD, guard(context, trail.allocation))
    trail.apply(Stage.GUARD, behavior.rate(context, trail.allocation, history.changes))
    for bound in _BOUNDS:
        trail.apply(Stage.GUARD, bound(context, trail.allocation))
    return _remembered(history, context, recommended, trail.allocation)


def _reactive(context: GuardContext, allocation: Allocation, outlook: _Outlook) -> Verdict:
    """Never below what the last 30 s of arrivals need, refused ones included.

    Primary replicas are added, as long as each adds capacity: where the model sees none to be had,
    more of the same would cost without helping. Fallbacks are the optimiser's, who minds the
    quality budget.
    """
    rate = outlook.recent_rate
    floor = list(allocation)
    policy = context.policy
    if not np.isfinite(rate):
        return Verdict(allocation, Reason.REACTIVE_FLOOR)
    carried = outlook.carries(allocation)
    for v in policy.indices(Role.PRIMARY):
        while carried < rate and floor[v] < policy.variants[v].max_replicas:
            floor[v] += 1
            more = outlook.carries(tuple(floor))
            if more <= carried:
                floor[v] -= 1
                break
            carried = more
    return Verdict(tuple(floor), Reason.REACTIVE_FLOOR)


def _remembered(
    history: History, context: GuardContext, recommended: Allocation, decided: Allocation
) -> History:
    """Append the recommendation and the changes, and forget what no window reaches."""
    now, block = context.now, context.policy.behavior
    window = max(context.hold_seconds)
    period = 0
    if block is not None:
        for rules in (block.scale_up, block.scale_down):
            if rules is not None:
                window = max(window, rules.stabilization_window_seconds)
                period = max([period] + [p.period_seconds for p in rules.policies])
    kept = tuple(entry for entry in history.recommended if entry[0] > now - window)
    changes = tuple(entry for entry in history.changes if entry[0] > now - period)
    if block is not None:
        changes += tuple(
            (now, v, after - before)
            for v, (before, after) in enumerate(zip(context.current, decided, strict=True))
            if after != before
        )
    return replace(history, recommended=(*kept, (now, recommended)), changes=changes)


def _persistence_differs(
    policy: Policy,
    observation: Observation,
    outlook: _Outlook,
    choice: Choice,
    now: float,
    highest: Allocation,
) -> bool:
    """Whether plain persistence would have recommended something else."""
    plain = _choice(policy, observation, outlook, outlook.persistence_quantiles(), now, highest)
    return plain.best.allocation != choice.best.allocation


def _kept(policy: Policy, current: Allocation, stage: Stage, reason: Reason) -> Decision:
    """The decision to leave things as they are."""
    return Decision(
        allocation=current,
        weights=None,
        steps=(DecisionStep(stage, reason, current, current),),
        binding=reason,
        cost_per_hour=cost_per_hour(policy, current),
    )


def _decision(policy: Policy, trail: _Trail, choice: Choice, outlook: _Outlook) -> Decision:
    steps = trail.steps or [
        DecisionStep(
            Stage.OPTIMISE, Reason.CURRENT_ALLOCATION_KEPT, trail.allocation, trail.allocation
        )
    ]
    return Decision(
        allocation=trail.allocation,
        weights=outlook.fleet.optimal_weights(trail.allocation),
        steps=tuple(steps),
        binding=steps[-1].reason,
        rejected=choice.rejected,
        miss_price=outlook.prices.miss,
        degraded_price=outlook.prices.degraded,
        cost_per_hour=cost_per_hour(policy, trail.allocation),
        capacity_requests_per_second=outlook.carries(trail.allocation),
    )


def _summary(outlook: _Outlook, now: float, *, changed: bool) -> ForecastSummary:
    forecast = outlook.forecast
    values = outlook.quantiles().tolist()
    return ForecastSummary(
        source=forecast.source,
        horizon_seconds=forecast.at_seconds - now,
        level_requests_per_second=forecast.level * outlook.per_reference,
        quantiles=tuple(zip(forecast.levels.tolist(), values, strict=True)),
        requests_per_reference=outlook.per_reference,
        trusted=forecast.trusted,
        changed_decision=changed,
    )
