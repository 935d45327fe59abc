"""Seeded, noisy traffic of many models, and what their replicas count of it.

No request is played: a replica's counts follow from its share of the load in closed form, so that
thousands of replicas cost a scrape less than a second.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.policy import Balancing, Routing, RoutingLaw, Slo
from controller.core.domain.variant import Role, Variant
from controller.core.performance.capacity import FleetCapacity
from controller.core.performance.catalog import profile
from controller.core.performance.mix import TokenMix

Floats = NDArray[np.float64]

#: Bucket edges as vLLM 0.32 shows them, in seconds and tokens.
TTFT_EDGES: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5),
    *(10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
GAP_EDGES: Final = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5),
    *(10.0, 20.0, 40.0, 80.0),
)
TOKEN_EDGES: Final = tuple(
    float(m * 10**d) for d in range(6) for m in (1, 2, 5) if m * 10**d <= 131_072
)

#: Catalogued profile of each variant, in the order of a ModelDeployment's variants.
PROFILES: Final = {"bf16": "llama-8b-bf16-h100", "fp8": "llama-8b-fp8-h100"}

TTFT_SECONDS: Final = 1.0
TPOT_SECONDS: Final = 0.05

_STEP_SECONDS: Final = 5.0
_STEPS: Final = 2_880  # four hours, then again
#: Spread and memory of the level's logarithm.
_SPREAD: Final = 0.25
_MEMORY_SECONDS: Final = 300.0
#: Mean load, in replicas of bf16: from a fifth of one to two and a half.
_LEAST_LOAD: Final = 0.2
_MOST_LOAD: Final = 2.5
_PROMPT_TOKENS: Final = 1_155.0
_OUTPUT_TOKENS: Final = 211.0

#: Shares of a replica's capacity at which it is known how many requests are in it.
_USES: Final = np.linspace(0.0, 1.4, 15)


@dataclass(frozen=True, slots=True, eq=False)
class Replica:
    """One replica of a variant at an ordinary token mix: requests/s it serves, and how it fills.

    ``filled`` is the mean number of requests in it at ``_USES``.
    """

    capacity: float
    filled: Floats

    def outstanding(self, use: Floats) -> Floats:
        """Mean number of requests in it by the share of its capacity that is asked for."""
        return np.interp(use, _USES, self.filled)


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """What is asked of ``objects`` models: arrays (objects,) and, of ``rates``, (objects, steps).

    ``replicas`` are by variant what one of them can do.
    """

    rates: Floats
    prompt_tokens: Floats
    output_tokens: Floats
    replicas: dict[str, Replica]

    @classmethod
    def drawn(cls, objects: int, seed: int) -> "Demand":
        """Draw it: the same for the same seed, and an object's the same whatever their number."""
        replicas = _replicas()
        rates = np.empty((objects, _STEPS))
        prompt, output = np.empty(objects), np.empty(objects)
        for i in range(objects):
            draw = np.random.default_rng((seed, i))
            load = draw.uniform(_LEAST_LOAD, _MOST_LOAD)
            rates[i] = replicas["bf16"].capacity * load * np.exp(_wandering(draw))
            prompt[i], output[i] = (
                mean * np.exp(draw.normal(0.0, 0.1)) for mean in (_PROMPT_TOKENS, _OUTPUT_TOKENS)
            )
        return cls(rates, prompt, output, replicas)

    def at(self, seconds: float) -> Floats:
        """Arrival rates, requests/s, so long after the beginning; shape (objects,)."""
        return self.rates[:, int(seconds / _STEP_SECONDS) % _STEPS]


def _wandering(draw: np.random.Generator) -> Floats:
    """Ornstein-Uhlenbeck path of the level's logarithm, shape (steps,)."""
    kept = np.exp(-_STEP_SECONDS / _MEMORY_SECONDS)
    shocks = draw.normal(0.0, _SPREAD * np.sqrt(1.0 - kept**2), _STEPS)
    path = np.empty(_STEPS)
    value = draw.normal(0.0, _SPREAD)
    for step in range(_STEPS):
        value = kept * value + shocks[step]
        path[step] = value
    return path


def _replicas() -> dict[str, Replica]:
    """What the performance model says of each variant."""
    made = {}
    for name, catalogued in PROFILES.items():
        fleet = FleetCapacity(
            variants=(_variant(name, catalogued),),
            slo=Slo(
                ttft_seconds=TTFT_SECONDS,
                tpot_seconds=TPOT_SECONDS,
                target=0.99,
                window_seconds=86_400.0,
                planned_budget_share=0.5,
            ),
            routing=Routing(law=RoutingLaw.SHARED, balancing=Balancing.LEAST_LOADED),
            mix=TokenMix.from_means(_PROMPT_TOKENS, _OUTPUT_TOKENS),
        )
        capacity = fleet.capacity((1,))
        filled = np.array([fleet.outstanding((1,), use * capacity) for use in _USES])
        made[name] = Replica(capacity, filled)
    return made


def _variant(name: str, catalogued: str) -> Variant:
    return Variant(
        name=name,
        role=Role.PRIMARY,
        cost_per_replica_hour=1.0,
        quality=1.0,
        min_replicas=1,
        max_replicas=1,
        gpus_per_replica=1,
        cold_start_seconds=30.0,
        profile=profile(catalogued),
    )
