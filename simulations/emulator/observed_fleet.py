"""A fleet of one replica that can be followed from iteration to iteration.

The engine counts completions; a model server also shows every token. Between two events of the
compiled loop a replica is in one stretch (``kernel``), whose iterations have a closed form, so
that looking at each stretch as it begins and ends is enough to know the time of every token.
"""

from typing import Any, NamedTuple

import numpy as np

from controller.core.domain.variant import PerformanceProfile
from simulations.engine import kernel
from simulations.engine.config import EngineConfig, PoolSpec
from simulations.engine.fleet import Fleet
from simulations.engine.state import REPLICA

_FIELD = {name: place for place, name in enumerate(REPLICA.names or ())}
_STATE, _BEGIN, _END = _FIELD["state"], _FIELD["begin"], _FIELD["end"]
_STEP, _GROWTH, _ITERATION = _FIELD["step"], _FIELD["growth"], _FIELD["iteration"]
_DECODING, _OUTSTANDING = _FIELD["decoding"], _FIELD["outstanding"]
_FIRST_ROOM = 1024


class Stretch(NamedTuple):
    """What the replica is doing from ``begin`` on; seconds.

    Where it decodes, its k-th iteration lasts ``step + growth k``; where prompt chunks take part
    (``prefills``) it is one iteration, which ends at ``end``. ``iteration`` counts the iterations
    before it.
    """

    begin: float
    end: float
    step: float
    growth: float
    iteration: int
    decoding: int
    outstanding: int
    prefills: bool
    decodes: bool

    def boundary(self, iterations: int) -> float:
        """Time at which so many iterations of a decode stretch have ended."""
        return self.begin + (
            iterations * self.step + self.growth * (0.5 * iterations * (iterations - 1.0))
        )


class Ending(NamedTuple):
    """How the request numbered ``uid`` ended."""

    uid: int
    end_seconds: float
    outcome: int


class ObservedFleet(Fleet):
    """One replica of one variant, Ready from ``at_seconds`` on."""

    def __init__(
        self,
        profile: PerformanceProfile,
        queue_limit: int | None,
        at_seconds: float,
        *,
        speed: float = 1.0,
        client_timeout_seconds: float | None = None,
    ) -> None:
        pool = PoolSpec(profile=profile, queue_limit=queue_limit)
        config = EngineConfig(
            ttft_threshold_seconds=np.inf,
            tpot_threshold_seconds=np.inf,
            client_timeout_seconds=client_timeout_seconds,
        )
        super().__init__((pool,), config, 1)
        self.add_replica(0, at_seconds, speed)
        self._room = 0
        self._make_log_room(_FIRST_ROOM)

    @property
    def next_uid(self) -> int:
        """Number that the next arrival will have."""
        return int(self._state.header["next_uid"][0])

    @property
    def next_event_seconds(self) -> float:
        """When the replica's stretch ends or a client gives up; infinite when idle."""
        at = float(self._state.tree["at"][1])
        return min(at, float(self._state.header["deadline_next"][0]))

    def stretch(self) -> Stretch:
        """Return what the replica is doing; up to date once it has advanced to its next event."""
        row: tuple[Any, ...] = self._state.replicas[0].item()
        state = row[_STATE]
        return Stretch(
            row[_BEGIN],
            row[_END],
            row[_STEP],
            row[_GROWTH],
            row[_ITERATION],
            row[_DECODING],
            row[_OUTSTANDING],
            state == kernel.PREFILL,
            state == kernel.DECODE,
        )

    def decoded(self) -> int:
        """Tokens that the decode stretch has given so far: iterations times sequences."""
        kernel.read_gauges(self._state, self._gauges)
        return int(self._gauges[0, 4])

    def prefilling(self) -> list[tuple[int, int]]:
        """Requests with a chunk in the iteration under way, in order: (record, uid)."""
        replica = self._state.replicas[0]
        requests = self._state.requests
        record = int(replica["prefill_head"])
        found = []
        for _ in range(int(replica["prefilling"])):
            request = requests[record]
            found.append((record, int(request["uid"])))
            record = int(request["next"])
        return found

    def first_token_seconds(self, record: int) -> float:
        """When the request of ``record`` got its first token; negative before."""
        return float(self._state.requests["first"][record])

    def take_endings(self) -> list[Ending]:
        """Requests that ended since the last call."""
        header = self._state.header
        count = int(header["logged"][0])
        if count == 0:
            return []
        rows = self._state.clients.log[:count]
        endings = [
            Ending(*row)
            for row in zip(
                rows["uid"].tolist(),
                rows["end"].tolist(),
                rows["outcome"].tolist(),
                strict=True,
            )
        ]
        header["logged"] = 0
        return endings

    def keep_room(self, outstanding: int) -> None:
        """Make sure that so many endings can be logged before they are taken."""
        if outstanding >= self._room:
            self._make_log_room(2 * outstanding)

    def _make_log_room(self, endings: int) -> None:
        self._room = endings
        self.watch(endings)
