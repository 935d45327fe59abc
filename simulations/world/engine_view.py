"""What a variant's engines export beyond what the operator reads, for peers that read it.

Some peers look at every replica by itself, or at latencies. They get the same scrape as everyone,
as late as everyone. The arrays are shared with the record of the scrape: read them only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.observation import VariantObservation
from simulations.engine.totals import FINE_EDGES_SECONDS, FINE_LOWER_SECONDS, Totals

_FINE_MIDDLE_SECONDS = np.append(
    (FINE_LOWER_SECONDS[:-1] + FINE_EDGES_SECONDS[:-1]) / 2.0, FINE_LOWER_SECONDS[-1]
)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EngineView:
    """One variant's engines at a scrape, ``at_seconds`` Unix time.

    ``running``, ``waiting`` (requests) and ``kv_tokens`` have shape (replicas,): one entry for
    every replica that takes requests. ``kv_capacity_tokens`` is the room of one. Counters are those
    of the variant since its first replica, and never fall.
    """

    at_seconds: float
    running: NDArray[np.int64]
    waiting: NDArray[np.int64]
    kv_tokens: NDArray[np.int64]
    kv_capacity_tokens: float
    totals: Totals
    pool: int

    @property
    def finished(self) -> int:
        """Requests answered."""
        return int(self.totals.finished[self.pool])

    @property
    def finished_prompt_tokens(self) -> int:
        """Prompt tokens of the requests answered."""
        return int(self.totals.finished_prompt_tokens[self.pool])

    @property
    def finished_output_tokens(self) -> int:
        """Output tokens of the requests answered."""
        return int(self.totals.finished_output_tokens[self.pool])

    @property
    def ttft_histogram(self) -> NDArray[np.int64]:
        """First tokens by time to first token, per bucket of the engine's own edges."""
        counts: NDArray[np.int64] = self.totals.ttft_histogram[self.pool]
        return counts

    @property
    def tpot_histogram(self) -> NDArray[np.int64]:
        """Requests answered by time per output token, per bucket of the engine's own edges."""
        counts: NDArray[np.int64] = self.totals.tpot_histogram[self.pool]
        return counts

    @property
    def ttft_count(self) -> int:
        """First tokens."""
        return int(self.ttft_histogram.sum())

    @property
    def ttft_seconds_sum(self) -> float:
        """Sum of times to first token, to .4 %."""
        return float(self.totals.ttft_fine[self.pool] @ _FINE_MIDDLE_SECONDS)

    @property
    def tpot_count(self) -> int:
        """Requests with a time per output token."""
        return int(self.tpot_histogram.sum())

    @property
    def tpot_seconds_sum(self) -> float:
        """Sum of times per output token, to .4 %."""
        return float(self.totals.tpot_fine[self.pool] @ _FINE_MIDDLE_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrapedVariant(VariantObservation):
    """A variant's observation with its engines' view; None where the operator sees no gauges."""

    engines: EngineView | None = None
