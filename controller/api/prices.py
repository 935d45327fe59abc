"""The price table: what an hour of a GPU costs, and what it draws, by the accelerator's name."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceleratorPrice:
    """One GPU: its price for an hour, and its power in watts when idle and when busy."""

    per_gpu_hour: float
    idle_watts: float
    busy_watts: float

    def __post_init__(self) -> None:
        """Refuse a price of nothing and watts out of order."""
        if not self.per_gpu_hour > 0:
            raise ValueError(f"per_gpu_hour must be above 0, not {self.per_gpu_hour}")
        if not 0 <= self.idle_watts <= self.busy_watts:
            raise ValueError("watts must satisfy 0 <= idle_watts <= busy_watts")


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTable:
    """Prices by accelerator, all in one ``currency``."""

    accelerators: Mapping[str, AcceleratorPrice]
    currency: str = "USD"


def _gpu(per_gpu_hour: float, idle_watts: float, busy_watts: float) -> AcceleratorPrice:
    return AcceleratorPrice(per_gpu_hour=per_gpu_hour, idle_watts=idle_watts, busy_watts=busy_watts)


#: On-demand prices of 2026 in the middle of what hyperscalers and specialists ask. Public sources
#: differ by a factor of two, so an operator puts its own in. Power of H200 is taken as H100's.
REFERENCE_PRICES: Final = PriceTable(
    accelerators=MappingProxyType(
        {
            "nvidia-h200": _gpu(5.00, 200, 700),
            "nvidia-h100": _gpu(4.00, 200, 700),
            "nvidia-a100": _gpu(2.50, 150, 400),
            "nvidia-l40s": _gpu(1.90, 100, 300),
            "nvidia-l4": _gpu(0.80, 25, 75),
        }
    )
)
