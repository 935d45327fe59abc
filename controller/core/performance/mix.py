"""The token mix: prompt and output lengths of the requests, as far as the timing of a replica asks.

Online only means are known (token sums over counts), so a mix is two means and a *shape*: the
distribution of either length divided by its mean, and their joint moments. Shapes move little over
a day while means move by factors, so a shape is fixed and only the means are observed. Offline,
``TokenMix.from_samples`` takes both from data.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Edges of the quantile bins of a shape. The upper tail is cut finely: the longest prompts decide
#: who misses the time to first token, and stall everyone else on the replica. Of a lone replica one
#: prompt in 30,000 still decides.
QUANTILE_EDGES: Final = (
    *(i / 20 for i in range(18)), 0.88, 0.91, 0.935, 0.955, 0.97, 0.98, 0.987, 0.993, 0.996, 0.998,
    0.999, 0.9995, 0.9998, 0.9999, 0.99997, 1.0,
)  # fmt: skip
#: Share of the requests in every bin.
QUANTILE_WEIGHTS: Final[NDArray[np.float64]] = np.diff(np.array(QUANTILE_EDGES))
_MIDDLES: Final[NDArray[np.float64]] = 0.5 * (
    np.array(QUANTILE_EDGES[1:]) + np.array(QUANTILE_EDGES[:-1])
)
_MOMENT_ORDER: Final = 5
#: Coefficient of variation of prompts and outputs where only means are known: the middle of
#: public traces (prompts .9 to 1.3, outputs .7 to 1.3), which are lognormal to first sight and
#: whose lengths are hardly correlated.
_DEFAULT_VARIATION: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenShape:
    """Lengths divided by their means: what stays when the means move.

    ``prompt`` and ``output`` are the mean normalised prompt and *decode* length (output less the
    first token, which the prefill emits) in every quantile bin of ``QUANTILE_EDGES``.
    ``moments[a][b]`` is E[p^a d^b] of the normalised lengths p and d, for a, b in 0..4.
    """

    prompt: tuple[float, ...]
    output: tuple[float, ...]
    moments: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenMix:
    """Mean tokens of a request and the shape around them. Hashable: tables are cached by it."""

    prompt_mean: float
    output_mean: float
    shape: TokenShape

    def __post_init__(self) -> None:
        """Reject means no request can have; raises ``ValueError``."""
        for name, value in (("prompt_mean", self.prompt_mean), ("output_mean", self.output_mean)):
            if not (math.isfinite(value) and value >= 1.0):
                raise ValueError(
                    f"{name} must be a finite number of tokens of at least 1, got {value}"
                )

    @classmethod
    def from_means(
        cls, prompt_mean: float, output_mean: float, shape: TokenShape | None = None
    ) -> "TokenMix":
        """Build the mix from observed means, with a known shape or the default one."""
        return cls(prompt_mean=prompt_mean, output_mean=output_mean, shape=shape or DEFAULT_SHAPE)

    @classmethod
    def from_samples(cls, prompt: ArrayLike, output: ArrayLike) -> "TokenMix":
        """Build the mix of requests with these ``prompt`` and ``output`` tokens, shape (requests,).

        Raises ``ValueError`` when the arrays differ in length, are empty or hold less than a token.
        """
        prompts = np.asarray(prompt, dtype=np.float64)
        outputs = np.asarray(output, dtype=np.float64)
        if prompts.shape != outputs.shape or prompts.ndim != 1 or len(prompts) == 0:
            raise ValueError(
                "prompt and output must be one-dimensional, of equal length and not empty, got "
                f"shapes {prompts.shape} and {outputs.shape}"
            )
        if not (min(prompts.min(), outputs.min()) >= 1.0):
            raise ValueError("prompt and output must hold at least 1 token each")
        decodes = outputs - 1.0
        p = prompts / prompts.mean()
        d = decodes / max(decodes.mean(), _LEAST_DECODE)
        shape = TokenShape(prompt=_bin_means(p), output=_bin_means(d), moments=_joint_moments(p, d))
        return cls(
            prompt_mean=float(prompts.mean()), output_mean=float(outputs.mean()), shape=shape
        )

    @property
    def decode_mean(self) -> float:
        """Mean iterations a request decodes in: its output tokens but for the first."""
        return max(self.output_mean - 1.0, _LEAST_DECODE)

    def with_means(self, prompt_mean: float, output_mean: float) -> "TokenMix":
        """Return the mix with other means and the same shape."""
        return replace(self, prompt_mean=prompt_mean, output_mean=output_mean)

    def rounded(self, step: float = 0.02) -> "TokenMix":
        """Return the mix with its means on a grid of ratio 1 + ``step``: few mixes, few tables."""
        return replace(
            self,
            prompt_mean=_on_grid(self.prompt_mean, step),
            output_mean=_on_grid(self.output_mean, step),
        )

    def prompt_quantiles(self, levels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Prompt tokens at these levels in [0, 1], interpolated between the bins' middles."""
        tokens = np.log(np.maximum(np.array(self.shape.prompt) * self.prompt_mean, 1.0))
        return np.asarray(np.exp(np.interp(levels, _MIDDLES, tokens)))

    def moment(self, prompt_power: int, decode_power: int) -> float:
        """E[prompt^a decode^b] in tokens, powers 0 to 4."""
        scale = self.prompt_mean**prompt_power * self.decode_mean**decode_power
        return self.shape.moments[prompt_power][decode_power] * scale


#: A mix of single-token answers has no decode at all; a thousandth keeps ratios finite.
_LEAST_DECODE: Final = 1e-3


def _on_grid(value: float, step: float) -> float:
    return max(1.0, math.exp(round(math.log(value) / math.log1p(step)) * math.log1p(step)))


def _bin_means(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Mean of every quantile bin of ``values``; a bin smaller than one value takes the nearest."""
    ordered = np.sort(values)
    total = np.concatenate([[0.0], np.cumsum(ordered)])
    edges = np.array(QUANTILE_EDGES) * len(ordered)
    # The integral of the quantile function, so that bins of a fraction of a value are exact.
    upto = np.interp(edges, np.arange(len(total)), total)
    return tuple((np.diff(upto) / (QUANTILE_WEIGHTS * len(ordered))).tolist())


def _joint_moments(p: NDArray[np.float64], d: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    powers = [np.ones((2, len(p)))]
    for _ in range(1, _MOMENT_ORDER):
        powers.append(powers[-1] * np.stack([p, d]))
    prompts, outputs = np.stack(powers, axis=1)
    return tuple(tuple(row) for row in (prompts @ outputs.T / len(p)).tolist())


def _lognormal_shape(variation: float) -> TokenShape:
    """Both lengths lognormal with mean 1 and this coefficient of variation, independent."""
    variance = math.log1p(variation**2)
    # Quantiles by inverting the normal distribution function on a fine grid.
    z = np.linspace(-8.0, 8.0, 8001)
    density = np.exp(-0.5 * z**2)
    share = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    share /= share[-1]
    # The mean of exp(sigma z - variance / 2) up to a quantile is the normal share, shifted.
    sigma = math.sqrt(variance)
    edges = np.interp(np.array(QUANTILE_EDGES), share, z)
    upto = np.interp(edges - sigma, z, share)
    upto[0], upto[-1] = 0.0, 1.0
    bins = tuple((np.diff(upto) / QUANTILE_WEIGHTS).tolist())
    single = [math.exp(0.5 * variance * a * (a - 1)) for a in range(_MOMENT_ORDER)]
    moments = tuple(tuple(first * second for second in single) for first in single)
    return TokenShape(prompt=bins, output=bins, moments=moments)


#: The shape assumed where only means are known.
DEFAULT_SHAPE: Final = _lognormal_shape(_DEFAULT_VARIATION)
