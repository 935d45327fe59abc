"""From a ModelDeployment and a Prometheus to a scenario of the user's own history."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.adapters.prometheus.profiles import Profiles
from controller.adapters.prometheus.session import PrometheusClient
from controller.adapters.prometheus.settings import PrometheusSettings
from controller.api.v1alpha1 import ModelDeployment, parse
from simulations.backtest.as_it_was import AsItWas, replay_as_it_was
from simulations.backtest.caveats import caveats
from simulations.backtest.errors import InvalidHistory
from simulations.backtest.history import History, read_history
from simulations.backtest.reading import HistoryReader
from simulations.backtest.seen import Seen, seen_of
from simulations.backtest.subject import engines_of, gateway_of
from simulations.backtest.trace_from_history import Lengths, recorded_of
from simulations.scenario import MetricsSpec, ReplicaSpec, ScenarioSpec, TraceSpec
from simulations.setup import Prepared, prepare


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Backtest:
    """A history ready to be replayed under any policy."""

    deployment: ModelDeployment
    history: History
    prepared: Prepared
    seen: Seen
    lengths: Lengths

    def as_it_was(self, seed: int) -> AsItWas:
        """Replay the fleet that ran."""
        return replay_as_it_was(self.prepared, self.history, self.seen, seed)

    def caveats(self, as_it_was: AsItWas) -> tuple[str, ...]:
        """What a reader must know."""
        policy = self.prepared.setup.policy
        return caveats(self.deployment, policy, self.history, self.seen, as_it_was, self.lengths)


def read_backtest(
    document: dict[str, Any],
    settings: PrometheusSettings,
    profiles: Profiles,
    days: float,
    until_seconds: float,
) -> Backtest:
    """Read a history and prepare its replay.

    Raises:
        InvalidModelDeployment: the document is none.
        InvalidHistory: Prometheus does not answer, or has no or too little of it.
        InvalidScenario: no replica could serve it within the SLO.
    """
    deployment = parse(document)
    spec = _scenario(deployment, document, settings.url, settings.scrape_interval_seconds)
    policy = spec.policy()
    client = PrometheusClient(settings)
    try:
        history = read_history(
            HistoryReader(client, settings.url, len(policy.variants)),
            engines_of(deployment, profiles),
            gateway_of(deployment, profiles),
            days,
            until_seconds,
        )
    finally:
        client.close()
    if not history.replayed.requests.sum() > 0.0:
        raise InvalidHistory(
            f"{spec.name} was scraped but served no request in the last {days:g} days; choose a "
            "time with traffic with --days and --until"
        )
    recorded, starts, lengths = recorded_of(history, spec.name, spec.seeds[0])
    spec = _scenario(deployment, document, settings.url, history.scrape_seconds)
    return Backtest(
        deployment=deployment,
        history=history,
        prepared=prepare(spec, Path(), trace=recorded, from_seconds=starts),
        seen=seen_of(history, policy),
        lengths=lengths,
    )


def _scenario(
    deployment: ModelDeployment, document: dict[str, Any], url: str, scrape_seconds: float
) -> ScenarioSpec:
    """The scenario that the ModelDeployment makes by itself; its trace is handed in."""
    return ScenarioSpec(
        name=f"{deployment.metadata.namespace}/{deployment.metadata.name}",
        model_deployment=document,
        trace=TraceSpec(path=url),
        replicas={
            variant.name: ReplicaSpec(
                cold_start_median_seconds=float(variant.cold_start_seconds),
                queue_limit=variant.queue_limit,
            )
            for variant in deployment.spec.variants
        },
        metrics=MetricsSpec(scrape_interval_seconds=scrape_seconds),
    )
