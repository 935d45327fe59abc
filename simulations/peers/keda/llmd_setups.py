"""llm-d's ScaledObjects on the Primaries, with the windows and rate policies of its manifests.

Read in llm-d/llm-d, guides/workload-autoscaling: windows and guard at 76e392d, token-aware at
04c0115, SLO-aware from its README at d38c9f0 (its ScaledObject was not to be had).
"""

from collections.abc import Callable

from controller.core.domain.observation import Missing, VariantObservation
from controller.core.domain.policy import Policy, RatePolicy, ScalingRules, SelectPolicy
from controller.core.domain.variant import Role
from simulations.peers.hpa.behavior import HpaBehavior
from simulations.peers.hpa.planner import ExternalAverage, Signal
from simulations.peers.keda.fallback import Fallback
from simulations.peers.keda.llmd import (
    Calibration,
    LatencySlo,
    Pool,
    SaturationBand,
    full_caches,
    guarded,
    mean_prompt_tokens,
    saturated_replicas,
    saturation,
)
from simulations.peers.keda.planner import (
    NULL_VALUES,
    KedaPlanner,
    Query,
    ScaledObject,
    Scraped,
    gauge_milli,
)
from simulations.setup import TPOT_EDGES_SECONDS, TTFT_EDGES_SECONDS

#: pollingInterval of the manifests.
POLL_SECONDS = 15.0
WAITING_TARGET = 1.0
RUNNING_TARGET = 16.0
BACKLOG_SECONDS = 1.5
KV_SHARE = 0.8


def windows_keda(
    policy: Policy,
    *,
    target_waiting: float = WAITING_TARGET,
    target_running: float = RUNNING_TARGET,
    up_window_seconds: int = 300,
    down_window_seconds: int = 300,
) -> KedaPlanner:
    """Waiting and running requests; the up-window of a cold start keeps it from overshooting."""
    return _primaries(
        policy,
        ScaledObject(
            triggers=(
                ExternalAverage(signal=Signal.WAITING, target=target_waiting),
                ExternalAverage(signal=Signal.RUNNING, target=target_running),
            ),
            behavior=HpaBehavior(
                scale_up=_rules(up_window_seconds, _doubling(15)),
                scale_down=_rules(down_window_seconds, _doubling(15)),
            ),
            poll_seconds=POLL_SECONDS,
        ),
    )


def guard_keda(
    policy: Policy,
    *,
    target_waiting: float = WAITING_TARGET,
    target_running: float = RUNNING_TARGET,
    down_window_seconds: int = 300,
) -> KedaPlanner:
    """The same demand as one formula, which takes off what is on its way; up at once.

    Where it cannot be computed four times in a row KEDA makes the HPA ask for one replica.
    """

    def formula(scraped: Scraped) -> float | None:
        waiting = gauge_milli(Signal.WAITING, scraped.seen)
        running = gauge_milli(Signal.RUNNING, scraped.seen)
        if waiting is None or running is None:
            return None
        demand = max(waiting / 1000.0 / target_waiting, running / 1000.0 / target_running)
        return guarded(demand, _pool(scraped.seen))

    return _primaries(
        policy,
        ScaledObject(
            triggers=(Query(target=1.0, value=formula),),
            behavior=HpaBehavior(
                scale_up=_rules(0, _doubling(15)),
                scale_down=_rules(down_window_seconds, _doubling(15)),
            ),
            fallback=Fallback(failure_threshold=3, replicas=1),
            poll_seconds=POLL_SECONDS,
        ),
    )


def slo_keda(
    policy: Policy,
    *,
    band: SaturationBand,
    up_window_seconds: int = 30,
    down_window_seconds: int = 180,
) -> KedaPlanner:
    """The P90 of both latencies over the SLO's thresholds; up in a burst, down one by one."""
    slo = LatencySlo(
        ttft_seconds=policy.slo.ttft_seconds,
        tpot_seconds=policy.slo.tpot_seconds,
        ttft_edges_seconds=TTFT_EDGES_SECONDS,
        tpot_edges_seconds=TPOT_EDGES_SECONDS,
    )

    def formula(scraped: Scraped) -> float | None:
        if _failed(scraped):
            return None
        now_saturated = saturation(slo, scraped.engines, scraped.now)
        return float(saturated_replicas(band, now_saturated, _pool(scraped.seen)))

    return _primaries(
        policy,
        ScaledObject(
            triggers=(Query(target=1.0, value=formula),),
            behavior=HpaBehavior(
                scale_up=_rules(up_window_seconds, _doubling(60), _pods(4, 60)),
                scale_down=_rules(down_window_seconds, _pods(1, 120)),
            ),
            poll_seconds=POLL_SECONDS,
        ),
    )


def token_keda(
    policy: Policy,
    calibration: Calibration,
    *,
    backlog_seconds: float = BACKLOG_SECONDS,
    kv_share: float = KV_SHARE,
    up_period_seconds: int = 180,
    down_period_seconds: int = 300,
    down_window_seconds: int = 300,
) -> KedaPlanner:
    """Prompt tokens that wait, as seconds of a replica's prefill, and the KV room in use.

    The picker counts the tokens of prompts that wait or are being computed. Engines show requests
    that wait: these, at the mean length lately answered, stand in for them.

    One replica is added, and one released, per period.
    """

    def scaled(velocity: float) -> ScaledObject:
        return ScaledObject(
            triggers=(
                Query(
                    target=backlog_seconds,
                    value=_unless_failed(
                        lambda scraped: (
                            _waiting(scraped)
                            * mean_prompt_tokens(
                                scraped.engines, scraped.now, calibration.prompt_tokens_mean
                            )
                            / velocity
                        )
                    ),
                ),
                Query(
                    target=kv_share,
                    value=_unless_failed(lambda scraped: full_caches(scraped.newest)),
                ),
            ),
            behavior=HpaBehavior(
                scale_up=_rules(0, _pods(1, up_period_seconds)),
                scale_down=_rules(down_window_seconds, _pods(1, down_period_seconds)),
            ),
            poll_seconds=POLL_SECONDS,
        )

    return KedaPlanner(
        tuple(
            scaled(velocity) if variant.role is Role.PRIMARY else None
            for variant, velocity in zip(
                policy.variants, calibration.prefill_tokens_per_second, strict=True
            )
        )
    )


def _primaries(policy: Policy, scaled: ScaledObject) -> KedaPlanner:
    return KedaPlanner(
        tuple(scaled if variant.role is Role.PRIMARY else None for variant in policy.variants)
    )


def _pool(seen: VariantObservation) -> Pool:
    """Replica counts as kube-state-metrics exports them from the Deployment's status."""
    return Pool(replicas=seen.ready + len(seen.starting_since_seconds), ready=seen.ready)


def _failed(scraped: Scraped) -> bool:
    """Whether a query of the engines' series fails; the result of series that are gone is empty."""
    running = scraped.seen.running
    gone = isinstance(running, Missing) and running.reason in NULL_VALUES
    return scraped.newest is None and not gone


def _waiting(scraped: Scraped) -> float:
    """Requests that wait; none where no engine is scraped, as the query ends in vector(0)."""
    return 0.0 if scraped.newest is None else float(scraped.newest.waiting.sum())


def _unless_failed(value: Callable[[Scraped], float]) -> Callable[[Scraped], float | None]:
    return lambda scraped: None if _failed(scraped) else value(scraped)


def _rules(window_seconds: int, *policies: RatePolicy) -> ScalingRules:
    return ScalingRules(
        stabilization_window_seconds=window_seconds,
        select_policy=SelectPolicy.MAX,
        policies=policies,
    )


def _doubling(period_seconds: int) -> RatePolicy:
    return RatePolicy(percent=True, value=100, period_seconds=period_seconds)


def _pods(value: int, period_seconds: int) -> RatePolicy:
    return RatePolicy(percent=False, value=value, period_seconds=period_seconds)
