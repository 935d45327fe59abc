"""A service's replicas as its controller records them: what to launch, and which ones go."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """Where a replica is in its life."""

    PROVISIONING = "PROVISIONING"
    STARTING = "STARTING"
    NOT_READY = "NOT_READY"
    READY = "READY"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    PREEMPTED = "PREEMPTED"
    FAILED = "FAILED"


#: The order in which replicas go; a status that is not in it has ended already.
REMOVAL_ORDER = (Status.PROVISIONING, Status.STARTING, Status.NOT_READY, Status.READY)
#: What the instance-aware autoscaler counts as capacity.
CAPACITY = frozenset({Status.READY, Status.STARTING, Status.PROVISIONING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One record. ``target_qps`` is its type's; ``version`` is the service's it was made from."""

    number: int
    status: Status
    spot: bool = False
    target_qps: float = 0.0
    version: int = 1

    @property
    def nonterminal(self) -> bool:
        """Whether it serves or may come to serve."""
        return self.status in REMOVAL_ORDER


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How many replicas to launch, and the numbers of those to terminate, in their order."""

    launch: int
    terminate: tuple[int, ...] = ()


def brought_to(replicas: Sequence[Replica], target: int, *, by_qps: bool = False) -> Change:
    """Bring the nonterminal ones of ``replicas`` to ``target``.

    The earliest in their life go first, of these the oldest version and the newest number;
    ``by_qps`` the slowest go first whatever they do, of these the newest.
    """
    alive = [replica for replica in replicas if replica.nonterminal]
    if len(alive) <= target:
        return Change(launch=target - len(alive))
    going = sorted(alive, key=_by_qps if by_qps else _by_life)
    return Change(
        launch=0, terminate=tuple(replica.number for replica in going[: len(alive) - target])
    )


def _by_life(replica: Replica) -> tuple[int, int, int]:
    return REMOVAL_ORDER.index(replica.status), replica.version, -replica.number


def _by_qps(replica: Replica) -> tuple[float, int]:
    return replica.target_qps, -replica.number
