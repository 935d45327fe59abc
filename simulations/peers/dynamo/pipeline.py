"""From what the loops ask to replicas: floor, GPU band, and patience while engines are starting.

Dynamo's pipeline ticks at the greatest common divisor of the loops' intervals; a planner here is
called when the controller ticks, and runs the loops that are due. Of both loops the throughput loop
only sets a floor under the load loop. While engines that were asked for are starting, nothing is
added, and less only when the same was asked on an earlier tick, a load interval ago, with the same
engines there.
"""

from dataclasses import dataclass, replace

from simulations.peers.dynamo.load import Wish
from simulations.peers.dynamo.throughput import GpuBand


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Engines that are ready, starting, and asked for."""

    ready: int
    pending: int
    expected: int

    @property
    def settled(self) -> bool:
        """Whether all that is asked for is there."""
        return self.ready == self.expected

    @property
    def starting(self) -> bool:
        """Whether all that is missing is known to be starting."""
        return self.pending > 0 and self.ready + self.pending == self.expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Fall:
    """A decrease asked for while engines were starting, and when first."""

    engines: int
    inventory: Inventory
    since_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineState:
    """The throughput loop's floor, and a decrease that waits to be asked for again."""

    floor: int = 1
    fall: Fall | None = None


def load_target(band: GpuBand, ready: int, wish: Wish, floor: int) -> int | None:
    """Engines that the load loop asks for, at least the ``floor``; None where these are ready."""
    step = {Wish.MORE: 1, Wish.FEWER: -1}.get(wish, 0)
    asked = band.guarded(ready, max(ready + step, floor, band.min_endpoint))
    return None if asked == ready else asked


def carried_out(
    state: PipelineState,
    inventory: Inventory,
    asked: int | None,
    *,
    now: float,
    load_interval_seconds: float,
) -> tuple[int | None, PipelineState]:
    """Engines to ask for now; None leaves what is asked for."""
    waiting, state = state.fall, replace(state, fall=None)
    if asked is None:
        return None, state
    if inventory.settled:
        return (None if asked == inventory.ready else asked), state
    if not inventory.starting or asked > inventory.ready:
        return None, state
    if waiting is None or (waiting.engines, waiting.inventory) != (asked, inventory):
        fall = Fall(engines=asked, inventory=inventory, since_seconds=now)
        return None, replace(state, fall=fall)
    if now - waiting.since_seconds < load_interval_seconds:
        return None, replace(state, fall=waiting)
    return asked, state
