"""Leader election on a Lease: its holder decides, and knows by its own clock until when.

The ``kubernetes`` package has an election of its own. It is not used: it compares the clocks of
different machines, and does not tell from any thread whether the lease may still be relied on.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from controller.adapters.kubernetes.client import Document, Kubernetes
from controller.adapters.kubernetes.errors import Forbidden, NotFound
from controller.ports import Conflict, PortError

_LOG: Final = logging.getLogger("steelyard.lease")

#: Part of a lease's duration after which its holder no longer relies on it. The rest is for what is
#: already on its way to the API server when the lease is found lost.
_RELIED_ON: Final = 0.8

#: Shortest time between two tries.
_AT_LEAST_SECONDS: Final = 0.1


class Time(Protocol):
    """Unix time, and steady time to measure with."""

    def now(self) -> float:
        """Unix time in seconds."""
        ...

    def steady(self) -> float:
        """Seconds from an arbitrary start that never go back."""
        ...


@dataclass(slots=True, kw_only=True)
class Lease:
    """Takes and renews one Lease, or watches who has it.

    Another's lease is taken once it has not changed for its duration since *we* first saw it so:
    clocks of different machines are never compared. Each write says which version it replaces, so
    of two that try one loses.
    """

    kubernetes: Kubernetes
    namespace: str
    name: str
    identity: str
    duration_seconds: int
    renew_seconds: float
    time: Time
    _relied_on_until: float = float("-inf")
    _seen: tuple[Any, ...] = ()
    _seen_at: float = 0.0
    _expires_at: float = float("inf")
    _told: set[str] = field(default_factory=set)

    def held(self) -> bool:
        """Whether this process leads now; asked from any thread."""
        return self.time.steady() < self._relied_on_until

    async def run(self) -> None:
        """Try for the lease, and renew it, without an end."""
        while True:
            led = self.held()
            await self.kubernetes.run(self.try_once)
            if self.held() != led:
                _LOG.info("%s leads" if self.held() else "%s no longer leads", self.identity)
            # Another's lease is tried for as soon as it expires.
            left = max(self._expires_at - self.time.steady(), _AT_LEAST_SECONDS)
            await asyncio.sleep(min(self.renew_seconds, left))

    def try_once(self) -> None:
        """Renew or take the lease if it can be had; blocks, and never raises."""
        began = self.time.steady()
        try:
            held = self._renewed_or_taken(began)
        except Conflict:
            held = False  # another was faster; the next try shows who
        except PortError as error:
            self._tell(error)
            return  # what was held runs out by itself
        self._told.clear()
        # Counted from before the request: whenever it was carried out, it was not earlier.
        self._relied_on_until = (
            began + _RELIED_ON * self.duration_seconds if held else float("-inf")
        )

    def release(self) -> None:
        """Give the lease up, if it is held, so that the next one need not wait; blocks."""
        if not self.held():
            return
        self._relied_on_until = float("-inf")
        try:
            lease = self.kubernetes.get(self._path)
            if lease["spec"].get("holderIdentity") == self.identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                self.kubernetes.replace(self._path, lease)
        except PortError as error:
            _LOG.info("the lease was not given up, it runs out: %s", error)

    @property
    def _collection(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases"

    @property
    def _path(self) -> str:
        return f"{self._collection}/{self.name}"

    def _renewed_or_taken(self, began: float) -> bool:
        """Whether the lease is ours now; raises ``PortError``."""
        self._expires_at = float("inf")
        try:
            lease = self.kubernetes.get(self._path)
        except NotFound:
            self.kubernetes.create(self._collection, self._first())
            return True
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        record = (holder, spec.get("renewTime"), spec.get("leaseTransitions"))
        if record != self._seen:
            self._seen, self._seen_at = record, began
        if holder == self.identity:
            self.kubernetes.replace(self._path, lease | {"spec": spec | self._ours()})
            return True
        lasts = float(spec.get("leaseDurationSeconds") or self.duration_seconds)
        self._expires_at = self._seen_at + lasts
        if holder and began < self._expires_at:
            return False
        transitions = int(spec.get("leaseTransitions") or 0) + 1
        taken = self._ours() | {"acquireTime": self._now(), "leaseTransitions": transitions}
        self.kubernetes.replace(self._path, lease | {"spec": spec | taken})
        return True

    def _first(self) -> Document:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": self._ours() | {"acquireTime": self._now(), "leaseTransitions": 0},
        }

    def _ours(self) -> Document:
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self.duration_seconds,
            "renewTime": self._now(),
        }

    def _now(self) -> str:
        """The time as the API server writes it, to the microsecond; for people only."""
        return datetime.fromtimestamp(self.time.now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _tell(self, error: PortError) -> None:
        """Log each problem once until it is over."""
        if str(error) not in self._told:
            self._told.add(str(error))
            fix = "; see Role steelyard-lease" if isinstance(error, Forbidden) else ""
            _LOG.warning("lease %s/%s: %s%s", self.namespace, self.name, error, fix)
