"""The factors a synthetic trace's rate is composed of."""

from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

_DAY_SECONDS = 86_400.0
_HOUR_SECONDS = 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Axis:
    """Times a factor is asked for, and its own stream of randomness; arrays have shape (times,).

    ``seconds`` from the trace's start, ``week_seconds`` since Monday midnight, evenly spaced.
    """

    seconds: NDArray[np.float64]
    week_seconds: NDArray[np.float64]
    generator: np.random.Generator


class Part(BaseModel):
    """A frozen piece of a spec, in camelCase or snake_case."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )


class Diurnal(Part):
    """A daily cycle: a cosine with one peak, lower or higher at the weekend."""

    kind: Literal["Diurnal"] = "Diurnal"
    swing: float = Field(
        default=0.5, ge=0.0, le=1.0, description="(peak - trough) / (peak + trough)"
    )
    peak_hour: float = Field(default=15.0, ge=0.0, lt=24.0)
    weekend_factor: float = Field(default=1.0, gt=0.0, description="level on Saturday and Sunday")

    def factor(self, axis: Axis) -> NDArray[np.float64]:
        """Cosine of the hour of day, times the day's level, which passes over in four hours."""
        hour = axis.week_seconds / _HOUR_SECONDS
        cycle = 1.0 + self.swing * np.cos(2.0 * np.pi * (hour - self.peak_hour) / 24.0)
        knots = np.array([0.0, 2.0, 118.0, 122.0, 166.0, 168.0])  # hours of the week
        low, half = self.weekend_factor, 0.5 * (1.0 + self.weekend_factor)
        days = np.interp(hour % 168.0, knots, [half, 1.0, 1.0, low, low, half])
        return np.asarray(cycle * days, np.float64)


class Wander(Part):
    """A slow random walk around the level: log-normal, with an exponential memory."""

    kind: Literal["Wander"] = "Wander"
    sigma: float = Field(default=0.1, ge=0.0, description="spread of ln(level)")
    memory_seconds: float = Field(default=1_800.0, gt=0.0)

    def factor(self, axis: Axis) -> NDArray[np.float64]:
        """Exponential of an Ornstein-Uhlenbeck process, of mean 1."""
        step = float(axis.seconds[1] - axis.seconds[0]) if len(axis.seconds) > 1 else 1.0
        keep = np.exp(-step / self.memory_seconds)
        noise = axis.generator.standard_normal(len(axis.seconds))
        noise[1:] *= np.sqrt(1.0 - keep * keep)
        walk = np.fromiter(accumulate(noise, lambda last, drawn: keep * last + drawn), np.float64)
        return np.asarray(np.exp(self.sigma * walk - 0.5 * self.sigma**2), np.float64)


class RecurringBursts(Part):
    """Bursts that start at given minutes of the hour, as scheduled jobs do."""

    kind: Literal["RecurringBursts"] = "RecurringBursts"
    minutes: tuple[Annotated[float, Field(ge=0.0, lt=60.0)], ...] = Field(
        default=(2.0, 32.0), min_length=1
    )
    probability: float = Field(default=1.0, gt=0.0, le=1.0, description="that one takes place")
    height: float = Field(default=3.0, ge=0.0, description="rate in it over the level: the median")
    height_sigma: float = Field(default=0.2, ge=0.0, description="spread of ln(height)")
    length_seconds: float = Field(default=480.0, gt=0.0)
    rise_seconds: float = Field(default=30.0, ge=0.0)

    def factor(self, axis: Axis) -> NDArray[np.float64]:
        """One burst per minute named, hour and success of a draw; overlapping ones add up."""
        offset = float(axis.week_seconds[0] - axis.seconds[0])
        first = np.floor(offset / _HOUR_SECONDS) - 1.0
        hours = np.arange(first, np.ceil((offset + axis.seconds[-1]) / _HOUR_SECONDS) + 1.0)
        starts = np.add.outer(hours * 60.0, np.array(self.minutes)).ravel() * 60.0 - offset
        happens = axis.generator.random(len(starts)) < self.probability
        heights = self.height * np.exp(
            self.height_sigma * axis.generator.standard_normal(len(starts))
        )
        lengths = np.full(len(starts), self.length_seconds)
        return _bursts(
            axis.seconds, starts[happens], lengths[happens], heights[happens], self.rise_seconds
        )


class RandomBursts(Part):
    """Bursts at random times: a Poisson process."""

    kind: Literal["RandomBursts"] = "RandomBursts"
    per_day: float = Field(default=6.0, gt=0.0)
    height: float = Field(default=2.0, ge=0.0, description="rate in it over the level: the median")
    height_sigma: float = Field(default=0.3, ge=0.0, description="spread of ln(height)")
    length_seconds: float = Field(default=300.0, gt=0.0, description="the median")
    length_sigma: float = Field(default=0.5, ge=0.0, description="spread of ln(length)")
    rise_seconds: float = Field(default=15.0, ge=0.0)

    def factor(self, axis: Axis) -> NDArray[np.float64]:
        """Bursts at times drawn evenly over the trace; overlapping ones add up."""
        end = float(axis.seconds[-1])
        count = int(axis.generator.poisson(self.per_day * end / _DAY_SECONDS))
        starts = np.sort(axis.generator.random(count)) * end
        heights = self.height * np.exp(self.height_sigma * axis.generator.standard_normal(count))
        lengths = self.length_seconds * np.exp(
            self.length_sigma * axis.generator.standard_normal(count)
        )
        return _bursts(axis.seconds, starts, lengths, heights, self.rise_seconds)


class Step(Part):
    """A sudden change of level, for good or until a time."""

    kind: Literal["Step"] = "Step"
    at_seconds: float = Field(ge=0.0)
    factor_after: float = Field(ge=0.0)
    until_seconds: float | None = None

    def factor(self, axis: Axis) -> NDArray[np.float64]:
        """1 before, ``factor_after`` from ``at_seconds`` on."""
        end = np.inf if self.until_seconds is None else self.until_seconds
        inside = (axis.seconds >= self.at_seconds) & (axis.seconds < end)
        return np.where(inside, self.factor_after, 1.0)


class FlashCrowd(Part):
    """A steep rise to a peak, and an exponential way back."""

    kind: Literal["FlashCrowd"] = "FlashCrowd"
    at_seconds: float = Field(ge=0.0)
    height: float = Field(gt=0.0, description="rate at the peak over the level")
    rise_seconds: float = Field(default=60.0, gt=0.0)
    decay_seconds: float = Field(default=1_800.0, gt=0.0, description="time to 1/e of the peak")

    def factor(self, axis: Axis) -> NDArray[np.float64]:
        """Straight up from ``at_seconds``, then down."""
        since = axis.seconds - self.at_seconds
        rise = np.clip(since / self.rise_seconds, 0.0, 1.0)
        fall = np.exp(-np.maximum(since - self.rise_seconds, 0.0) / self.decay_seconds)
        return np.asarray(1.0 + (self.height - 1.0) * rise * fall, np.float64)


class Ramp(Part):
    """A straight change of level between two times, which then stays."""

    kind: Literal["Ramp"] = "Ramp"
    from_seconds: float = Field(ge=0.0)
    to_seconds: float = Field(gt=0.0)
    factor_after: float = Field(ge=0.0)

    @model_validator(mode="after")
    def _ascending(self) -> "Ramp":
        if not self.from_seconds < self.to_seconds:
            raise ValueError("toSeconds must be after fromSeconds")
        return self

    def factor(self, axis: Axis) -> NDArray[np.float64]:
        """From 1 to ``factor_after``."""
        ends = (self.from_seconds, self.to_seconds)
        return np.asarray(np.interp(axis.seconds, ends, (1.0, self.factor_after)), np.float64)


class OnOff(Part):
    """A square wave: the level while on, a share of it while off."""

    kind: Literal["OnOff"] = "OnOff"
    on_seconds: float = Field(gt=0.0)
    off_seconds: float = Field(gt=0.0)
    off_factor: float = Field(default=0.0, ge=0.0, le=1.0)
    first_on_seconds: float = Field(default=0.0, description="start of an on phase")

    def factor(self, axis: Axis) -> NDArray[np.float64]:
        """1 while on, ``off_factor`` while off."""
        phase = (axis.seconds - self.first_on_seconds) % (self.on_seconds + self.off_seconds)
        return np.where(phase < self.on_seconds, 1.0, self.off_factor)


Component: TypeAlias = Annotated[
    Diurnal | Wander | RecurringBursts | RandomBursts | Step | FlashCrowd | Ramp | OnOff,
    Field(discriminator="kind"),
]


def _bursts(
    seconds: NDArray[np.float64],
    starts: NDArray[np.float64],
    lengths: NDArray[np.float64],
    heights: NDArray[np.float64],
    rise_seconds: float,
) -> NDArray[np.float64]:
    """1, and ``height`` inside each burst, which rises and falls in a straight line."""
    factor = np.ones(len(seconds))
    rise = max(rise_seconds, 1e-9)
    for start, length, height in zip(starts, lengths, heights, strict=True):
        first, last = np.searchsorted(seconds, (start, start + length + rise))
        since = seconds[first:last] - start
        shape = np.clip(np.minimum(since, length + rise - since) / rise, 0.0, 1.0)
        factor[first:last] += (height - 1.0) * shape
    return np.maximum(factor, 0.0)
