"""Forward passes kept for a fit: a few from every corner of what was seen, not the last ones only.

Every axis of the features, from the least to the greatest value ever seen, is cut into equal
buckets. Beyond the capacity the oldest sample of the fullest bucket goes; of equally full ones that
which was opened first. When an axis grows all samples are sorted anew, bucket by bucket, so within
a bucket "oldest" is what that left in front.
"""

from dataclasses import dataclass
from typing import TypeAlias

Features: TypeAlias = tuple[float, ...]
Sample: TypeAlias = tuple[Features, float]
_Bucket: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleStore:
    """Samples of (features, milliseconds) by bucket, in the order in which buckets were opened."""

    buckets_per_axis: int
    capacity: int = 64
    least: Features = ()
    greatest: Features = ()
    buckets: tuple[tuple[_Bucket, tuple[Sample, ...]], ...] = ()

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All of them, bucket by bucket."""
        return tuple(sample for _, inside in self.buckets for sample in inside)

    def __len__(self) -> int:
        """Samples kept."""
        return sum(len(inside) for _, inside in self.buckets)

    def added(self, features: Features, milliseconds: float) -> "SampleStore":
        """With one more sample."""
        least = tuple(map(min, self.least or features, features))
        greatest = tuple(map(max, self.greatest or features, features))
        buckets: dict[_Bucket, list[Sample]] = {}
        if (least, greatest) == (self.least, self.greatest):
            buckets = {key: list(inside) for key, inside in self.buckets}
        else:
            for sample in self.samples:
                buckets.setdefault(self._bucket(sample[0], least, greatest), []).append(sample)
        home = self._bucket(features, least, greatest)
        buckets.setdefault(home, []).append((features, milliseconds))
        if len(self) + 1 > self.capacity:
            fullest = max(buckets, key=lambda key: len(buckets[key]))
            del buckets[fullest][0]
        return SampleStore(
            buckets_per_axis=self.buckets_per_axis,
            capacity=self.capacity,
            least=least,
            greatest=greatest,
            buckets=tuple((key, tuple(inside)) for key, inside in buckets.items() if inside),
        )

    def _bucket(self, features: Features, least: Features, greatest: Features) -> _Bucket:
        return tuple(
            min(
                int((value - low) / (high - low) * self.buckets_per_axis), self.buckets_per_axis - 1
            )
            if high > low
            else 0
            for value, low, high in zip(features, least, greatest, strict=True)
        )
