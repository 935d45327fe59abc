"""Leader election on a Lease: its holder decides, and knows by its own clock until when.

The ``kubernetes`` package has an election of its own. It is not used: it compares the clocks of
different machines, cannot tell any thread how long the lease may be relied on, and cannot be ended.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
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

_NEVER: Final = float("-inf")
_UNKNOWN: Final = float("inf")


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
    _relied_on_until: float = _NEVER
    _own: Document | None = None
    _seen: tuple[Any, ...] = ()
    _seen_at: float = 0.0
    _expires_at: float = _UNKNOWN
    _ended: bool = False
    _told: set[str] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    def held(self) -> bool:
        """Whether this process leads now; asked from any thread."""
        return self.time.steady() < self._relied_on_until

    async def run(self) -> None:
        """Try for the lease, and renew it, without an end."""
        while True:
            began, led = self.time.steady(), self.held()
            await self.kubernetes.run(self.try_once)
            if self.held() != led:
                _LOG.info("%s leads" if self.held() else "%s no longer leads", self.identity)
            # Another's lease is tried for as soon as it expires.
            due = min(began + self.renew_seconds, self._expires_at)
            await asyncio.sleep(max(due - self.time.steady(), _AT_LEAST_SECONDS))

    def try_once(self) -> None:
        """Renew or take the lease if it can be had; blocks. No refusal or silence is raised."""
        with self._lock:
            if self._ended:
                return
            began = self.time.steady()
            self._expires_at = _UNKNOWN
            try:
                held = self._renewed_or_taken(began)
            except Conflict:
                return  # another was faster: the next try shows who
            except PortError as error:
                self._tell(error)
                return  # what was held runs out by itself
            self._told.clear()
            # Counted from before the request: whenever it was carried out, it was not earlier.
            self._relied_on_until = began + _RELIED_ON * self.duration_seconds if held else _NEVER

    def release(self) -> None:
        """Take it no more; give it up, if it is held, so that the next need not wait; blocks."""
        with self._lock:
            held = self.held()
            self._ended, self._relied_on_until = True, _NEVER
            if not held:
                return
            try:
                lease = self.kubernetes.get(self._path)
                spec = lease.get("spec") or {}
                if spec.get("holderIdentity") == self.identity:
                    given_up = {"holderIdentity": "", "renewTime": self._now()}
                    self.kubernetes.replace(self._path, lease | {"spec": spec | given_up})
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
        if self._own is not None:
            try:
                return self._put(self._own)
            except (Conflict, NotFound):
                self._own = None  # somebody else has written or deleted it
        try:
            lease = self.kubernetes.get(self._path)
        except NotFound:
            self._own = self.kubernetes.create(self._collection, self._first())
            return True
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        record = (holder, spec.get("renewTime"), spec.get("leaseTransitions"))
        if record != self._seen:
            # It was so at the latest when the answer came: earlier is not certain.
            self._seen, self._seen_at = record, self.time.steady()
        if holder == self.identity:
            return self._put(lease)
        lasts = float(spec.get("leaseDurationSeconds") or self.duration_seconds)
        if holder and began < self._seen_at + lasts:
            self._expires_at = self._seen_at + lasts
            return False
        transitions = int(spec.get("leaseTransitions") or 0) + 1
        return self._put(lease, acquireTime=self._now(), leaseTransitions=transitions)

    def _put(self, lease: Document, **change: Any) -> bool:
        """Make this version of the lease ours; raises ``PortError``."""
        spec = (lease.get("spec") or {}) | self._ours() | change
        self._own = self.kubernetes.replace(self._path, lease | {"spec": spec})
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
            fix = ""
            if isinstance(error, Forbidden):
                fix = "; bind the operator's ServiceAccount to Role steelyard-lease there"
            _LOG.warning("lease %s/%s: %s%s", self.namespace, self.name, error, fix)
