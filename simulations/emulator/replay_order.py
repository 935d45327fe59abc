"""Which trace is played, where, and how large: as an option of the command line or over HTTP."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from simulations.emulator.view import Door
from simulations.traces.opening import open_trace
from simulations.traces.scaling import PEAK_BUCKET_SECONDS, scaled_to_peak
from simulations.traces.slicing import slice_trace
from simulations.traces.trace import Trace


def cut_and_scaled(
    source: Path | dict[str, Any],
    *,
    peak: float | None = None,
    from_seconds: float = 0.0,
    to_seconds: float | None = None,
) -> Trace:
    """Open a trace and take the part in [from, to), scaled to a peak in requests/s where given.

    The whole is scaled before it is cut: copies are shifted, and so need the part's surroundings.
    The peak is that of 60 s at least, however short the part.

    Raises:
        InvalidTrace: the trace cannot be read, cut or scaled.
        OSError: there is no such file.
    """
    trace = open_trace(source)
    if peak is not None:
        end = None if to_seconds is None else max(to_seconds, from_seconds + PEAK_BUCKET_SECONDS)
        trace = scaled_to_peak(trace, peak, from_seconds=from_seconds, to_seconds=end)
    return slice_trace(trace, from_seconds, to_seconds)


class ReplayOrder(BaseModel):
    """A trace to play: a file of this machine, or the spec of a synthetic one."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    door: str = Field(description="KIND/NAMESPACE/NAME")
    trace: Path | dict[str, Any]
    peak: float | None = Field(default=None, gt=0.0, description="requests/s over 60 s")
    from_seconds: float = Field(default=0.0, ge=0.0, alias="fromSeconds")
    to_seconds: float | None = Field(default=None, gt=0.0, alias="toSeconds")

    def opened(self) -> tuple[Trace, Door]:
        """Return what is played and where.

        Raises:
            ValueError: the door or the trace cannot be used (``InvalidTrace`` is one).
            OSError: there is no such file.
        """
        door = Door.parse(self.door)
        trace = cut_and_scaled(
            self.trace,
            peak=self.peak,
            from_seconds=self.from_seconds,
            to_seconds=self.to_seconds,
        )
        return trace, door
