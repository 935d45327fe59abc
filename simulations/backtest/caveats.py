"""What a reader must know before trusting a back-test: only what the data gives cause for."""

from collections.abc import Iterator

from controller.api.prices import REFERENCE_PRICES
from controller.api.v1alpha1 import ModelDeployment
from controller.core.domain.policy import Policy, RoutingLaw
from controller.core.performance import catalog
from simulations.backtest.as_it_was import AsItWas
from simulations.backtest.history import DAY_SECONDS, History
from simulations.backtest.seen import Objective, Seen
from simulations.backtest.trace_from_history import Lengths

#: An error of the replica model from here on is worth a calibration.
_CALIBRATE_FROM = 0.01

#: Shares below this are not told.
_NEGLIGIBLE = 0.0005

#: Below so many days before the replay a weekly pattern cannot be known.
_WEEK_DAYS = 7.0


def caveats(
    deployment: ModelDeployment,
    policy: Policy,
    history: History,
    seen: Seen,
    as_it_was: AsItWas,
    lengths: Lengths,
) -> tuple[str, ...]:
    """Return one sentence or two a caveat, what weighs most first."""
    return (
        *_model(as_it_was),
        *_performance(deployment),
        *_missing(history, as_it_was),
        *_demand(history, seen),
        *_lengths(lengths),
        *_fleet(deployment, policy, history, as_it_was),
        *_objectives(seen),
        *_prices(deployment),
        *_past(history),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _name(objective: Objective) -> str:
    return f"{objective.metric} within {1000 * objective.read_at_seconds:g} ms"


def _model(as_it_was: AsItWas) -> Iterator[str]:
    if not as_it_was.fits:
        yield (
            "The replica model could not be checked: Prometheus has no histograms of the "
            "objectives to set beside the simulated ones."
        )
        return
    parts = [
        f"{_name(fit.objective)}: simulated {_percent(fit.simulated_share)}, seen "
        f"{_percent(fit.objective.share)} ({100 * fit.error:+.2f} points)"
        for fit in as_it_was.fits
    ]
    text = (
        f"Measured error of the replica model, at the replicas that really ran: {'; '.join(parts)}."
    )
    if max(abs(fit.error) for fit in as_it_was.fits) >= _CALIBRATE_FROM:
        text += (
            " That is large: measure performance.parameters on your own replicas, or let "
            "steelyard run in mode Recommend, where it learns them, before trusting the costs."
        )
    yield text


def _performance(deployment: ModelDeployment) -> Iterator[str]:
    for variant in deployment.spec.variants:
        performance = variant.performance
        if performance is None or performance.profile is None:
            continue
        entry = catalog.CATALOG[performance.profile]
        what = "derived, not measured" if entry.assumed else "fitted on GPU kernel measurements"
        yield (
            f"Variant {variant.name}: the speed of a replica is the built-in profile "
            f"{performance.profile} ({what}), not measured on yours."
        )
    starts = ", ".join(f"{v.name} {v.cold_start_seconds} s" for v in deployment.spec.variants)
    yield f"Cold starts are as declared ({starts}), drawn around that; yours were not measured."


def _missing(history: History, as_it_was: AsItWas) -> Iterator[str]:
    if history.missing_share > 0.0:
        yield (
            f"{_percent(history.missing_share)} of the replayed time has no samples: requests "
            "there are from the counters on either side where the same pods go on, else "
            "interpolated."
        )
    if as_it_was.held_share > 0.0:
        yield (
            "The replicas that ran are not known for "
            f"{_percent(as_it_was.held_share)} of the time; the last count was held."
        )


def _demand(history: History, seen: Seen) -> Iterator[str]:
    step = history.replayed.grid.step_seconds
    yield (
        f"Requests are known per {step:g} s and arrive at random times inside them: bursts shorter "
        "than that are not in the replay."
    )
    lost = (seen.refused + seen.failed) / seen.requests if seen.requests > 0.0 else 0.0
    if lost > _NEGLIGIBLE:
        yield (
            f"{_percent(lost)} of the requests were refused or failed. Clients that tried again "
            "were counted again, and those that went away are missing from the traffic: a fleet "
            "that serves them all would have seen another one."
        )


def _lengths(lengths: Lengths) -> Iterator[str]:
    if lengths is Lengths.HISTOGRAMS:
        yield (
            "Prompt and output lengths are drawn from their histograms day by day, scaled to each "
            "hour's means, and independently of one another: histograms do not show pairs."
        )
    elif lengths is Lengths.MEANS:
        yield (
            "There are no histograms of token lengths: they are spread around each hour's means "
            "as widely as public traces are."
        )
    else:
        yield (
            "Nothing is known of the token lengths: those of a public chat trace stand in. Costs "
            "follow from them; let the engine export its token counters."
        )


def _fleet(
    deployment: ModelDeployment, policy: Policy, history: History, as_it_was: AsItWas
) -> Iterator[str]:
    yield (
        "As it was: replicas are pods whose metrics were scraped; each start is billed with a "
        "declared cold start before it, and pods that never served are not seen."
    )
    for extent in history.extents:
        engines = extent.engines
        if not engines.by_workload:
            names = [deployment.spec.variants[v].name for v in engines.variants]
            yield (
                f"Pods of {engines.model} are not named after the workloads of {', '.join(names)}: "
                f"all were taken as {names[0]}'s."
            )
    served = {v for extent in history.extents for v in extent.engines.variants}
    for v, variant in enumerate(policy.variants):
        if v not in served:
            yield f"Variant {variant.name} has no series in that time: it is taken as never run."
        elif as_it_was.most_replicas[v] > variant.max_replicas:
            yield (
                f"Up to {as_it_was.most_replicas[v]} replicas of {variant.name} ran; policies are "
                f"held to its maxReplicas, {variant.max_replicas}."
            )
    if policy.routing.law is RoutingLaw.SEPARATE and len(policy.variants) > 1:
        yield (
            "Routing is Separate, and the replay sends all requests to the first Primary: those "
            "that clients of other variants sent are among them."
        )


def _objectives(seen: Seen) -> Iterator[str]:
    for objective in seen.objectives:
        if objective.of_gaps:
            yield (
                f"{objective.metric} as it was is the share of single token gaps, which hides slow "
                "requests among fast ones: the engine has no histogram by request."
            )
        if abs(objective.read_at_seconds - objective.threshold_seconds) > 1e-9:
            yield (
                f"{objective.metric} {1000 * objective.threshold_seconds:g} ms is no bucket edge "
                f"of your histograms; what was seen is read at "
                f"{1000 * objective.read_at_seconds:g} ms."
            )


def _prices(deployment: ModelDeployment) -> Iterator[str]:
    names = sorted(
        {
            str(variant.accelerator)
            for variant in deployment.spec.variants
            if variant.cost_per_replica_hour is None
        }
    )
    if names:
        told = ", ".join(
            f"{name} {REFERENCE_PRICES.accelerators[name].per_gpu_hour:.2f}" for name in names
        )
        yield (
            f"Prices per GPU hour are reference ones in {REFERENCE_PRICES.currency} ({told}); "
            "write costPerReplicaHour to have your own."
        )


def _past(history: History) -> Iterator[str]:
    past = history.past
    days = 0.0 if past is None else past.grid.steps * past.grid.step_seconds / DAY_SECONDS
    if days < _WEEK_DAYS:
        yield (
            f"Forecasts start from {days:.3g} days of history before the replay: with less than a "
            "week no weekly pattern can be known at first."
        )
