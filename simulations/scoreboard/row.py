"""Rows: what one replay of the suite yields, flat, as it is stored."""

from dataclasses import asdict, dataclass, fields
from typing import Any

import polars as pl

from simulations.results import PolicyResult

#: Name of the clairvoyant plan's rows, and of those of the proved bound.
REFERENCE_PLAN = "reference-plan"
LOWER_BOUND = "lower-bound"
#: Name of the row that tells what whole replicas cost beyond parts of them.
INTEGRALITY = "integrality"
#: The part of a cell's trace that is scored.
TEST = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One replay. Costs in the price table's currency; shares in [0, 1]; None where unknown.

    ``policy`` is written as on the command line; ``part`` is the part of the trace: ``test``, or
    ``training`` with the share of it. ``code`` is a fingerprint of what the figures depend on.
    Without a cost the policy cannot run in the cell.
    """

    cell: str
    policy: str
    seed: int
    part: str
    code: str
    cost: float | None = None
    attainment: float | None = None
    degraded_share: float | None = None
    requests: int | None = None
    missed: int | None = None
    refused: int | None = None
    ttft_p50_seconds: float | None = None
    ttft_p99_seconds: float | None = None
    tpot_p50_seconds: float | None = None
    tpot_p99_seconds: float | None = None
    churn: int | None = None
    starting_gpu_hours: float | None = None
    wape: float | None = None
    persistence_wape: float | None = None
    coverage_80: float | None = None
    coverage_95: float | None = None
    trusted_share: float | None = None
    changed_decision_share: float | None = None
    plan_seconds_mean: float | None = None
    plan_seconds_p99: float | None = None
    seen_attainment_low: float | None = None
    seen_attainment_high: float | None = None
    digest: str | None = None
    wall_seconds: float = 0.0

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What tells rows of one code apart."""
        return self.cell, self.policy, self.seed, self.part


_POLARS = {"str": pl.String, "int": pl.Int64, "float": pl.Float64}

SCHEMA: dict[str, Any] = {
    field.name: _POLARS[str(getattr(field.type, "__name__", field.type)).split(" ")[0]]
    for field in fields(Row)
}


def row_of(result: PolicyResult, **identity: Any) -> Row:
    """The figures of a replay; ``identity`` are cell, policy, seed, part, code, wall_seconds."""
    score = result.forecast
    return Row(
        cost=result.cost,
        attainment=result.attainment,
        degraded_share=result.degraded_share,
        requests=int(result.requests),
        missed=int(result.requests - result.good),
        refused=int(result.refused),
        ttft_p50_seconds=result.ttft_seconds.p50,
        ttft_p99_seconds=result.ttft_seconds.p99,
        tpot_p50_seconds=result.tpot_seconds.p50,
        tpot_p99_seconds=result.tpot_seconds.p99,
        churn=int(result.churn),
        starting_gpu_hours=result.starting_gpu_hours,
        wape=None if score is None else score.wape,
        persistence_wape=None if score is None else score.persistence_wape,
        coverage_80=None if score is None else score.coverage.get("0.8"),
        coverage_95=None if score is None else score.coverage.get("0.95"),
        trusted_share=None if score is None else score.trusted_share,
        changed_decision_share=None if score is None else score.changed_decision_share,
        plan_seconds_mean=result.plan_seconds_mean,
        plan_seconds_p99=result.plan_seconds_p99,
        seen_attainment_low=result.seen_attainment[0],
        seen_attainment_high=result.seen_attainment[1],
        digest=result.digest,
        **identity,
    )


def frame(rows: list[Row]) -> pl.DataFrame:
    """Rows as a table."""
    return pl.DataFrame([asdict(row) for row in rows], schema=SCHEMA)
