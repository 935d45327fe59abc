"""What every replica has counted, in vLLM's terms, and its page of metrics."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from operatorbench.traffic import GAP_EDGES, TOKEN_EDGES, TTFT_EDGES, Demand, Floats

_ENDED_BY: Final = ("stop", "length", "abort", "error", "repetition")
_SHARES: Final = (0.8, 0.1995, 0.0003, 0.0002, 0.0)
_REFUSED_BY: Final = ("max_num_queued_reqs", "max_num_queued_tokens")

#: Histograms: name, bucket edges.
_HISTOGRAMS: Final = (
    ("request_prompt_tokens", TOKEN_EDGES),
    ("request_generation_tokens", TOKEN_EDGES),
    ("time_to_first_token_seconds", TTFT_EDGES),
    ("request_time_per_output_token_seconds", GAP_EDGES),
    ("inter_token_latency_seconds", GAP_EDGES),
)

#: Median latencies of an idle replica, what load adds, and the spreads of their logarithms.
_TTFT_SECONDS: Final = 0.04
_TTFT_SPREAD: Final = 0.45
_TPOT_SECONDS: Final = 0.016
_TPOT_SPREAD: Final = 0.15
_TOKENS_SPREAD: Final = 0.8
_KV_IDLE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Serving:
    """One pod that serves: of which model (by number) and variant, and since when (Unix)."""

    namespace: str
    name: str
    model: int
    variant: str
    since_seconds: float


class Replicas:
    """The pods that serve, and what each has counted since it began.

    ``set`` says which there are, ``advance`` lets time pass, ``page`` shows them.
    """

    def __init__(self, demand: Demand, seed: int) -> None:
        self._demand = demand
        self._draw = np.random.default_rng((seed, len(demand.prompt_tokens)))
        self._pods: dict[tuple[str, str], Serving] = {}
        self._templates: dict[tuple[str, str], str] = {}
        self._counts: dict[tuple[str, str], Floats] = {}
        self._outstanding: dict[tuple[str, str], float] = {}

    def set(self, pods: dict[tuple[str, str], Serving]) -> None:
        """These serve; those that did not before begin at 0, those that are gone show no more."""
        for key in self._pods.keys() - pods.keys():
            del self._templates[key], self._counts[key], self._outstanding[key]
        for key in pods.keys() - self._pods.keys():
            self._templates[key] = _template(pods[key])
            self._counts[key] = np.zeros(_COLUMNS)
            self._outstanding[key] = 0.0
        self._pods = dict(pods)

    def page(self, at_seconds: float, since_last_seconds: float) -> bytes:
        """Let time pass and return all series; times are since the demand's beginning."""
        if not self._pods:
            return b"\n"
        keys = list(self._pods)
        load = self._load(keys, at_seconds)
        counts = np.array([self._counts[key] for key in keys])
        arrived = self._draw.poisson(load.rates * since_last_seconds).astype(np.float64)
        before = np.array([self._outstanding[key] for key in keys])
        wanted = self._draw.poisson(load.outstanding).astype(np.float64)
        # What arrives is running, waiting or ended.
        ended = np.maximum(before + arrived - wanted, 0.0)
        outstanding = before + arrived - ended
        self._count(counts, ended.astype(np.int64), load)
        waiting = np.floor(outstanding * np.clip(load.use - 0.95, 0.0, 0.5))
        gauges = np.stack(
            (outstanding - waiting, waiting, np.minimum(_KV_IDLE + 0.6 * load.use, 1.0)), axis=1
        )
        for i, key in enumerate(keys):
            self._counts[key] = counts[i]
            self._outstanding[key] = float(outstanding[i])
        shown = np.concatenate((gauges, _cumulative(counts)), axis=1).tolist()
        text = "".join(
            self._templates[key] % tuple(values) for key, values in zip(keys, shown, strict=True)
        )
        return text.encode()

    def _load(self, keys: list[tuple[str, str]], at_seconds: float) -> "_Load":
        """Share every model's arrivals out among its replicas, by their capacities."""
        replicas = self._demand.replicas
        models = np.array([self._pods[key].model for key in keys])
        variants = np.array([self._pods[key].variant for key in keys])
        capacity = np.empty(len(keys))
        for variant, replica in replicas.items():
            capacity[variants == variant] = replica.capacity
        of_model = np.bincount(models, capacity, minlength=len(self._demand.prompt_tokens))
        use = self._demand.at(at_seconds)[models] / of_model[models]
        outstanding = np.empty(len(keys))
        for variant, replica in replicas.items():
            of_variant = variants == variant
            outstanding[of_variant] = replica.outstanding(use[of_variant])
        return _Load(
            rates=capacity * use,
            use=use,
            outstanding=outstanding,
            ttft=_TTFT_SECONDS / np.maximum(1.0 - 0.85 * use, 0.02),
            tpot=_TPOT_SECONDS * (1.0 + 0.8 * use),
            prompt=self._demand.prompt_tokens[models],
            output=self._demand.output_tokens[models],
        )

    def _count(self, counts: Floats, ended: NDArray[np.int64], load: "_Load") -> None:
        """Add what ended to ``counts``, shape (pods, columns)."""
        draw, at = self._draw, 0
        counts[:, : len(_ENDED_BY)] += draw.multinomial(ended, _SHARES)
        at += len(_ENDED_BY) + len(_REFUSED_BY)
        for median, spread, edges in (
            (_median(load.prompt), _TOKENS_SPREAD, TOKEN_EDGES),
            (_median(load.output), _TOKENS_SPREAD, TOKEN_EDGES),
            (load.ttft, _TTFT_SPREAD, TTFT_EDGES),
            (load.tpot, _TPOT_SPREAD, GAP_EDGES),
            (load.tpot, _TPOT_SPREAD, GAP_EDGES),
        ):
            width = len(edges) + 1
            counts[:, at : at + width] += draw.multinomial(ended, _shares(median, spread, edges))
            mean = median * np.exp(0.5 * spread**2)
            error = draw.normal(0.0, 1.0, len(ended)) * np.sqrt(ended) * mean * spread
            counts[:, at + width] += np.maximum(ended * mean + error, 0.0)
            at += width + 1


@dataclass(frozen=True, slots=True, eq=False)
class _Load:
    """What is asked of every replica and how it fares, arrays (pods,)."""

    rates: Floats
    use: Floats
    outstanding: Floats
    ttft: Floats
    tpot: Floats
    prompt: Floats
    output: Floats


#: By-reason counts, then of each histogram its buckets, the one beyond all edges, and its sum.
_COLUMNS: Final = (
    len(_ENDED_BY) + len(_REFUSED_BY) + sum(len(edges) + 2 for _, edges in _HISTOGRAMS)
)


def _median(mean: Floats) -> Floats:
    return mean * np.exp(-0.5 * _TOKENS_SPREAD**2)


def _shares(median: Floats, spread: float, edges: tuple[float, ...]) -> Floats:
    """Lognormal shares of the buckets, shape (pods, edges + 1).

    The normal distribution is taken for the logistic one of the same spread: it only has to look
    alike, and needs no error function.
    """
    distance = (np.log(np.array(edges)) - np.log(median)[:, None]) / spread
    below = 1.0 / (1.0 + np.exp(-np.clip(1.702 * distance, -60.0, 60.0)))
    ends = np.ones((len(median), 1))
    return np.diff(np.concatenate((np.zeros_like(ends), below, ends), axis=1), axis=1)


def _cumulative(counts: Floats) -> Floats:
    """Counts as they are shown: buckets cumulative, then the count and the sum."""
    shown, at = [counts[:, : len(_ENDED_BY) + len(_REFUSED_BY)]], len(_ENDED_BY) + len(_REFUSED_BY)
    for _, edges in _HISTOGRAMS:
        width = len(edges) + 1
        buckets = np.cumsum(counts[:, at : at + width], axis=1)
        shown += [buckets, buckets[:, -1:], counts[:, at + width : at + width + 1]]
        at += width + 1
    return np.concatenate(shown, axis=1)


def _template(pod: Serving) -> str:
    """One pod's page with a place for each value."""
    where = f'namespace="{pod.namespace}",pod="{pod.name}",model_name="{model_name(pod.model)}"'
    ranked = f'engine="0",{where}'
    lines = [
        f"vllm:num_requests_running{{{ranked}}} %r",
        f"vllm:num_requests_waiting{{{ranked}}} %r",
        f"vllm:kv_cache_usage_perc{{{ranked}}} %r",
        *(
            f'vllm:request_success_total{{finished_reason="{reason}",{ranked}}} %r'
            for reason in _ENDED_BY
        ),
        *(
            f'vllm:admission_rejections_total{{reason="{reason}",{where}}} %r'
            for reason in _REFUSED_BY
        ),
    ]
    for name, edges in _HISTOGRAMS:
        texts = [*(str(edge) for edge in edges), "+Inf"]
        lines += [f'vllm:{name}_bucket{{le="{le}",{ranked}}} %r' for le in texts]
        lines += [f"vllm:{name}_count{{{ranked}}} %r", f"vllm:{name}_sum{{{ranked}}} %r"]
    lines += [
        f'vllm:request_success_created{{finished_reason="{reason}",{ranked}}} {pod.since_seconds!r}'
        for reason in _ENDED_BY
    ]
    return "\n".join(lines) + "\n"


def model_name(model: int) -> str:
    """The served name of a model by its number."""
    return f"bench/model-{model:04}"
