"""How long a forward pass takes, learned from passes: up to 1.2, and from 1.5 on.

Up to 1.2 each engine role has one least-squares line or plane. From 1.5 on a pass is told by what
it holds, and each kind has its own samples and non-negative slopes; prefill, which costs a floor
before it costs tokens, gets a line with one bend.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from simulations.peers.dynamo.samples import Features, Sample, SampleStore

#: Samples from which a line is fitted, and one with a bend.
MIN_SAMPLES = 5
_MIN_BENT_SAMPLES = 6
_LEAST_MILLISECONDS = 1e-3
#: A pass shorter than this weighs no more than one of this length.
_WEIGHT_FLOOR_MILLISECONDS = 25.0
#: Rounding below 0 that a bent line is allowed.
_SLACK = 1e-6
_BUCKETS = 16


class PassKind(StrEnum):
    """What a forward pass holds; also the role of an engine that runs such passes."""

    PREFILL = "prefill"
    DECODE = "decode"
    MIXED = "mixed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardPass:
    """One engine iteration: prompt tokens computed, sequences decoding and the KV these read."""

    prefill_tokens: float = 0.0
    decode_requests: float = 0.0
    kv_tokens: float = 0.0

    @property
    def kind(self) -> PassKind | None:
        """What it holds; None when it is empty."""
        if self.prefill_tokens > 0.0:
            return PassKind.MIXED if self.decode_requests > 0.0 else PassKind.PREFILL
        return PassKind.DECODE if self.decode_requests > 0.0 else None

    def features(self, kind: PassKind) -> Features:
        """What the time of a pass of this kind is explained by."""
        if kind is PassKind.PREFILL:
            return (self.prefill_tokens,)
        first = self.decode_requests if kind is PassKind.DECODE else self.prefill_tokens
        return (first, self.kv_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class PassLaw:
    """A line over the features, whose slope along the first grows by ``bend`` past ``knot``."""

    intercept: float
    slopes: Features
    bend: float = 0.0
    knot: float = 0.0

    def milliseconds(self, features: Features) -> float:
        """Time of a pass, at least a microsecond."""
        straight = self.intercept + math.fsum(
            slope * value for slope, value in zip(self.slopes, features, strict=True)
        )
        bent = straight + self.bend * max(features[0] - self.knot, 0.0)
        return max(_LEAST_MILLISECONDS, bent)


_Fit: TypeAlias = Callable[[PassKind, Sequence[Sample]], PassLaw | None]


def fitted_until_1_2(kind: PassKind, samples: Sequence[Sample]) -> PassLaw | None:
    """Least squares; None with too few samples, or where more load would take less time.

    Of decodes the slope over requests, which are nearly in proportion to the KV tokens, is cut at
    0 instead; the intercept stays what it was.
    """
    if len(samples) < MIN_SAMPLES:
        return None
    x, y = _arrays(samples)
    centre, mean = x.mean(axis=0), float(y.mean())
    slopes = np.linalg.lstsq(x - centre, y - mean, rcond=None)[0]
    intercept = mean - float(centre @ slopes)
    if kind is PassKind.DECODE:
        slopes[0] = max(0.0, slopes[0])
    if np.any(slopes < 0.0):
        return None
    return PassLaw(intercept=intercept, slopes=tuple(slopes.tolist()))


def fitted_from_1_5(kind: PassKind, samples: Sequence[Sample]) -> PassLaw | None:
    """Non-negative slopes; of prefill with a bend where there is one that fits.

    None with too few samples, or where no slope is positive.
    """
    if len(samples) < MIN_SAMPLES:
        return None
    x, y = _arrays(samples)
    if kind is PassKind.PREFILL and len(samples) >= _MIN_BENT_SAMPLES:
        bent = [found for knot in _knots(x[:, 0]) if (found := _bent(x[:, 0], y, knot))]
        if bent:
            return min(bent, key=lambda found: found[0])[1]
    # The intercept is free: it is what centring takes out.
    centre, mean = x.mean(axis=0), float(y.mean())
    scale = np.maximum(np.abs(x - centre).max(axis=0), 1e-12)
    slopes = nnls((x - centre) / scale, y - mean)[0] / scale
    if not np.any(slopes > 0.0):
        return None
    return PassLaw(intercept=mean - float(centre @ slopes), slopes=tuple(slopes.tolist()))


def _bent(
    tokens: NDArray[np.float64], y: NDArray[np.float64], knot: float
) -> tuple[float, PassLaw] | None:
    """Squared relative error and law bent at ``knot``; None where it falls or starts below 0."""
    weights = 1.0 / np.maximum(y, _WEIGHT_FLOOR_MILLISECONDS)
    rows = np.stack([np.ones(len(tokens)), tokens, np.maximum(tokens - knot, 0.0)], axis=1)
    scale = rows.max(axis=0)
    rows = rows / scale * weights[:, None]
    found = np.linalg.lstsq(rows, y * weights, rcond=None)[0]
    error = float(np.sum((rows @ found - y * weights) ** 2))
    intercept, slope, bend = (found / scale).tolist()
    if min(intercept, slope, slope + bend) < -_SLACK:
        return None
    return error, PassLaw(intercept=intercept, slopes=(slope,), bend=bend, knot=knot)


def _knots(tokens: NDArray[np.float64]) -> Iterator[float]:
    """Fifths of the distinct token counts, and eight points between the ends in equal ratios."""
    distinct = np.unique(tokens)
    least, greatest = float(distinct[0]), float(distinct[-1])
    if len(distinct) < 3:
        return
    knots = [float(distinct[fifth * (len(distinct) - 1) // 5]) for fifth in (1, 2, 3, 4)]
    if least > 0.0:
        knots += np.geomspace(least, greatest, 10)[1:-1].tolist()
    yield from (knot for knot in sorted(knots) if least < knot < greatest)


def _arrays(samples: Sequence[Sample]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Features (samples, axes) and milliseconds (samples,)."""
    return np.array([features for features, _ in samples]), np.array([time for _, time in samples])


def _store(kind: PassKind) -> SampleStore:
    """16 buckets over all axes."""
    return SampleStore(buckets_per_axis=_BUCKETS if kind is PassKind.PREFILL else 4)


@dataclass(frozen=True, eq=False, kw_only=True)
class Regression:
    """Samples of one kind and what is fitted to them, when it is first asked for."""

    kind: PassKind
    fit: _Fit
    store: SampleStore

    @cached_property
    def law(self) -> PassLaw | None:
        """None where there is no sound fit."""
        return self.fit(self.kind, self.store.samples)

    def observed(self, seen: ForwardPass, milliseconds: float) -> "Regression":
        """With one more pass."""
        return replace(self, store=self.store.added(seen.features(self.kind), milliseconds))

    def milliseconds(self, asked: ForwardPass) -> float | None:
        """Time of a pass; None where there is no sound fit."""
        return None if self.law is None else self.law.milliseconds(asked.features(self.kind))


def regression_until_1_2(role: PassKind) -> Regression:
    """An empty model of an engine: aggregated ones are MIXED, whatever a pass of theirs holds.

    A pass of no duration is not to be shown to it.
    """
    return Regression(kind=role, fit=fitted_until_1_2, store=_store(role))


def _each_kind() -> dict[PassKind, Regression]:
    return {
        kind: Regression(kind=kind, fit=fitted_from_1_5, store=_store(kind)) for kind in PassKind
    }


@dataclass(frozen=True, eq=False, slots=True)
class PassModel:
    """The model from 1.5 on: one regression for each kind of pass."""

    regressions: dict[PassKind, Regression] = field(default_factory=_each_kind)

    def __len__(self) -> int:
        """Samples kept of all kinds."""
        return sum(len(one.store) for one in self.regressions.values())

    def observed(self, seen: ForwardPass, milliseconds: float) -> "PassModel":
        """With one more pass; empty ones are ignored."""
        kind = seen.kind
        if kind is None or not milliseconds > 0.0:
            return self
        return PassModel(
            {**self.regressions, kind: self.regressions[kind].observed(seen, milliseconds)}
        )

    def milliseconds(self, asked: ForwardPass) -> float | None:
        """Time of a pass by the regression of its kind; None while that is not fitted."""
        return None if asked.kind is None else self.regressions[asked.kind].milliseconds(asked)
