"""Dynamo's classic SLA planner (1.0.2) on a ModelDeployment.

The classic planner sizes two pools: prefill engines and decode engines. Its aggregated mode has no
throughput planning at all, and our replicas do both kinds of work. So each Primary gets the engines
of both pools together, rounded up once: where a replica prefills .4 of its time and decodes the
rest, neither needs one of its own. Whole pools (P + D) would cost it up to a replica more at all
times, and two at least. What prefills beside decodes cost in time between tokens, its own
correction factor sees, as all replicas decode.

Every 180 s, on the latencies and tokens of the requests that ended since: a refused attempt ends
too, as Dynamo's frontend counts it. In between nothing changes. The mean request duration, which no
engine here exports, is put together from its parts. Where Prometheus is blind the interval goes on
until it is not, and nothing changes. The GPU budget is what the variant may have. Like a Dynamo
deployment, it never goes to zero.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from controller.core.domain.decision import Decision, Reason
from controller.core.domain.observation import Observation, PastTraffic, VariantObservation
from controller.core.domain.policy import Policy
from controller.core.domain.variant import Role
from controller.ports import Planner
from simulations.peers.account import peer_decision
from simulations.peers.dynamo.classic import (
    ClassicProfile,
    ClassicSpec,
    ClassicState,
    Seen,
    shares,
)
from simulations.peers.dynamo.offline_profile import classic_profile
from simulations.peers.dynamo.predictors import CLASSIC, PredictorKind, PredictorSpec, require
from simulations.peers.dynamo.traffic import TrafficWindow
from simulations.peers.peer import Knob, Peer, PeerFacts, Settings
from simulations.world.engine_view import EngineView, ScrapedVariant

#: Share of the threshold between tokens that the *mean* is held to. The time to first token only
#: decides which engine is deployed: no formula that counts replicas has it.
_ITL_SHARE = Knob(
    name="itl_share",
    default=1.0,
    values=(0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0),
    least=0.05,
    most=2.0,
)


@dataclass(frozen=True, slots=True)
class Counters:
    """An engine's counters at one scrape; sums in seconds."""

    ended: float
    finished: float
    prompt_tokens: float
    output_tokens: float
    ttft_count: float
    ttft_seconds: float
    itl_count: float
    itl_seconds: float

    @classmethod
    def of(cls, engines: EngineView) -> "Counters":
        """Read them off a scrape."""
        totals, pool = engines.totals, engines.pool
        unanswered = (
            totals.refused[pool]
            + totals.overflowed[pool]
            + totals.timed_out[pool]
            + totals.failed[pool]
            + totals.too_large[pool]
        )
        return cls(
            ended=float(engines.finished + unanswered),
            finished=float(engines.finished),
            prompt_tokens=float(engines.finished_prompt_tokens),
            output_tokens=float(engines.finished_output_tokens),
            ttft_count=float(engines.ttft_count),
            ttft_seconds=engines.ttft_seconds_sum,
            itl_count=float(engines.tpot_count),
            itl_seconds=engines.tpot_seconds_sum,
        )

    def since(self, before: "Counters") -> Seen:
        """What ended in between."""
        finished = self.finished - before.finished
        ttft = _mean(self.ttft_seconds - before.ttft_seconds, self.ttft_count - before.ttft_count)
        itl = _mean(self.itl_seconds - before.itl_seconds, self.itl_count - before.itl_count)
        output = _mean(self.output_tokens - before.output_tokens, finished)
        return Seen(
            window=TrafficWindow(
                requests=self.ended - before.ended,
                prompt_tokens=_mean(self.prompt_tokens - before.prompt_tokens, finished),
                output_tokens=output,
            ),
            ttft_milliseconds=1000.0 * ttft,
            itl_milliseconds=1000.0 * itl,
            duration_seconds=ttft + itl * max(output - 1.0, 0.0),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassicHistory:
    """Memory of one deployment; None until its engines were first seen."""

    since_seconds: float | None = None
    counters: Counters | None = None
    state: ClassicState = ClassicState()  # noqa: RUF009 - frozen, without state of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A variant under the planner."""

    spec: ClassicSpec
    profile: ClassicProfile


class ClassicPlanner:
    """Every Primary by itself; a variant without a deployment (None) stays at its minimum."""

    def __init__(self, deployments: tuple[Deployment | None, ...]) -> None:
        self._deployments = deployments

    def initial(self, policy: Policy, past: PastTraffic | None) -> tuple[ClassicHistory, ...]:
        """Nothing is known at the start: a warm-up trace is an option that users rarely have."""
        del past
        if len(self._deployments) != len(policy.variants):
            raise ValueError(
                f"deployments: {len(self._deployments)} entries for {len(policy.variants)} "
                f"variants of {policy.namespace}/{policy.name}; give one per variant, None for none"
            )
        return (ClassicHistory(),) * len(self._deployments)

    def plan(
        self,
        policy: Policy,
        observation: Observation,
        history: tuple[ClassicHistory, ...],
        now: float,
    ) -> tuple[Decision, tuple[ClassicHistory, ...]]:
        """Adjust every deployment whose interval is over and whose engines are seen."""
        wanted, floored, remembered = [], [], []
        blind = False
        rows = zip(self._deployments, policy.variants, observation.variants, history, strict=True)
        for deployment, variant, seen, memory in rows:
            if deployment is None:
                wanted.append(variant.min_replicas)
                floored.append(variant.min_replicas)
                remembered.append(memory)
                continue
            replicas, after, sighted = _adjusted(deployment, seen, memory, now)
            wanted.append(replicas)
            floored.append(max(replicas, variant.min_replicas, 1))
            remembered.append(after)
            blind = blind or not sighted
        within = tuple(
            min(replicas, variant.max_replicas)
            for replicas, variant in zip(floored, policy.variants, strict=True)
        )
        decision = peer_decision(
            policy,
            tuple(seen.desired for seen in observation.variants),
            tuple(wanted),
            limits=((Reason.MIN_REPLICAS, tuple(floored)), (Reason.MAX_REPLICAS, within)),
            kept_for=Reason.METRICS_MISSING if blind else None,
        )
        return decision, tuple(remembered)


def _adjusted(
    deployment: Deployment, seen: VariantObservation, memory: ClassicHistory, now: float
) -> tuple[int, ClassicHistory, bool]:
    """Replicas wanted, the memory after, and whether the engines were seen when it was time."""
    spec = deployment.spec
    since = memory.since_seconds
    if since is not None and now - since < spec.interval_seconds:
        return seen.desired, memory, True
    if not isinstance(seen, ScrapedVariant) or seen.engines is None:
        return seen.desired, memory, False
    counters = Counters.of(seen.engines)
    before, memory = memory.counters, replace(memory, since_seconds=now, counters=counters)
    if before is None or since is None:
        return seen.desired, memory, True
    ended = counters.since(before)
    # After an outage the window is longer than an interval; the planner thinks in intervals.
    scale = spec.interval_seconds / (now - since)
    window = replace(ended.window, requests=scale * ended.window.requests)
    asked, state = shares(
        spec,
        deployment.profile,
        memory.state,
        replace(ended, window=window),
        decoding=seen.ready,
    )
    memory = replace(memory, state=state)
    if asked is None:
        return seen.desired, memory, True
    return max(math.ceil(asked.prefill + asked.decode), spec.min_endpoint), memory, True


def _mean(total: float, count: float) -> float:
    return total / count if count > 0.0 else math.nan


def _setup(
    kind: PredictorKind, predictors: PredictorSpec
) -> Callable[[PeerFacts, Settings], Planner[Any]]:
    def setup(facts: PeerFacts, settings: Settings) -> Planner[Any]:
        require(kind)
        spec = ClassicSpec(
            itl_milliseconds=1000.0 * settings["itl_share"] * facts.policy.slo.tpot_seconds,
            predictor=kind,
            max_gpu_budget=None,
            predictors=predictors,
        )
        return ClassicPlanner(
            tuple(
                Deployment(spec=spec, profile=classic_profile(tested.profile))
                if variant.role is Role.PRIMARY
                else None
                for variant, tested in zip(
                    facts.policy.variants, facts.capacity.variants, strict=True
                )
            )
        )

    return setup


def _peer(name: str, kind: PredictorKind, predictors: PredictorSpec, predicted: str) -> Peer:
    return Peer(
        name=f"dynamo-classic-{name}",
        family="dynamo-classic",
        description=f"Dynamo's classic SLA planner (1.0.2) every 180 s, its load {predicted}; "
        "engines of both pools together",
        setup=_setup(kind, predictors),
        knobs=(_ITL_SHARE,),
    )


#: As written, but for the time that Prophet is asked for.
_PROPHET_IN_TIME = replace(CLASSIC, steps_as_seconds=False)

CLASSIC_PEERS: tuple[Peer, ...] = (
    _peer("constant", PredictorKind.CONSTANT, CLASSIC, "as in the last interval"),
    _peer("arima", PredictorKind.ARIMA, CLASSIC, "predicted by auto-ARIMA, its default"),
    _peer("kalman", PredictorKind.KALMAN, CLASSIC, "predicted by a Kalman filter"),
    _peer(
        "prophet",
        PredictorKind.PROPHET,
        _PROPHET_IN_TIME,
        "predicted by Prophet (corrected: for the next interval)",
    ),
    _peer(
        "prophet-as-written",
        PredictorKind.PROPHET,
        CLASSIC,
        "predicted by Prophet for a time near the series' beginning, as released",
    ),
)
