"""Whatever requests and answers meet with: never two that lead, and never long none."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from controller.adapters.kubernetes.errors import NotFound, Unanswered
from controller.adapters.kubernetes.lease import Lease
from controller.ports import Conflict

Document = dict[str, Any]

DURATION_SECONDS = 10
TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Fate:
    """What befalls a request.

    ``there`` and ``back`` are seconds on the way. Another candidate tries ``before`` and ``after``
    it is carried out.
    """

    there: float
    back: float
    before: int | None
    after: int | None
    ends: str


@dataclass
class Server:
    """An API server with one Lease, far away: time passes on the way there and back."""

    now: float = 0.0
    lease: Document | None = None
    version: int = 0
    fates: list[Fate] = field(default_factory=list)
    meanwhile: Callable[[int], None] = lambda _: None
    late: list[Callable[[], Document]] = field(default_factory=list)
    nested: bool = False
    asked: int = 0

    def get(self, path: str) -> Document:
        """Read."""
        del path
        return self._met(self._read)

    def create(self, path: str, document: Document) -> Document:
        """Create, unless it is there."""
        del path
        return self._met(lambda: self._write(document, create=True))

    def replace(self, path: str, document: Document) -> Document:
        """Replace the version that was read."""
        del path
        return self._met(lambda: self._write(document, create=False))

    def _met(self, perform: Callable[[], Document]) -> Document:
        self.asked += 1
        fate = self.fates.pop() if self.fates else Fate(0.0, 0.0, None, None, "answered")
        self.now += fate.there
        self._lets(fate.before)
        for waiting in self.late:
            self._tried(waiting)
        self.late = []
        if fate.ends == "lost":
            self.now += TIMEOUT_SECONDS - fate.there
            raise Unanswered("lost")
        if fate.ends == "late":
            self.late.append(perform)
            self.now += TIMEOUT_SECONDS - fate.there
            raise Unanswered("late")
        answer = self._tried(perform)
        self._lets(fate.after)
        self.now += fate.back
        if fate.ends == "unheard":
            raise Unanswered("unheard")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _lets(self, other: int | None) -> None:
        if other is not None and not self.nested:
            self.nested = True
            self.meanwhile(other)
            self.nested = False

    def _tried(self, perform: Callable[[], Document]) -> Document | Exception:
        try:
            return perform()
        except (Conflict, NotFound) as error:
            return error

    def _read(self) -> Document:
        if self.lease is None:
            raise NotFound(404, "none")
        return copy.deepcopy(self.lease)

    def _write(self, document: Document, *, create: bool) -> Document:
        if create != (self.lease is None):
            raise Conflict("there is one") if create else NotFound(404, "none")
        if self.lease is not None and (
            document["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]
        ):
            raise Conflict("changed")
        self.version += 1
        self.lease = copy.deepcopy(document)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        return copy.deepcopy(self.lease)


@dataclass
class Clock:
    """A machine's clocks, years from any other's, that run at the right speed."""

    server: Server
    ahead: float

    def now(self) -> float:
        """Unix time."""
        return self.server.now + 2.0 * self.ahead

    def steady(self) -> float:
        """Steady time."""
        return self.server.now + self.ahead


def stand(server: Server, count: int) -> list[Lease]:
    """Make candidates."""
    return [
        Lease(
            kubernetes=server,
            namespace="here",
            name="steelyard-controller",
            identity=f"operator-{i}",
            duration_seconds=DURATION_SECONDS,
            renew_seconds=2.0,
            time=Clock(server, 1e8 * i),
        )
        for i in range(count)
    ]


#: Few values, so that what must not meet meets often.
FATES = st.builds(
    Fate,
    there=st.sampled_from([0.0, 2.5]),
    back=st.sampled_from([0.0, 2.5]),
    before=st.sampled_from([None, None, 0, 1]),
    after=st.sampled_from([None, None, 0, 1]),
    ends=st.sampled_from(["answered"] * 4 + ["lost", "late", "unheard"]),
)
TRIES = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 0, 1, 2]),
        st.sampled_from([0.0, 0.0, 2.0, 5.0, 7.5, 10.0]),
        st.sampled_from([Lease.try_once] * 9 + [Lease.release]),
        st.one_of(st.just([]), st.lists(FATES, max_size=2)),
    ),
    max_size=20,
)


def play(server: Server, leases: list[Lease], tries: Any) -> None:
    """Let the candidates try, and look each time how many lead."""
    busy: set[int] = set()

    def once(which: int, does: Callable[[Lease], None]) -> None:
        if which in busy:
            return
        busy.add(which)
        does(leases[which])
        busy.discard(which)
        assert sum(lease.held() for lease in leases) <= 1

    server.meanwhile = lambda which: once(which, Lease.try_once)
    for which, wait, does, fates in tries:
        server.now += wait
        server.fates = list(fates)
        once(which, does)
    server.fates = []


@settings(deadline=None, max_examples=1000)
@given(tries=TRIES)
@example(  # a renewal overtakes the reading that is to show how long there was none
    tries=[
        (0, 0.0, Lease.try_once, []),
        (1, 0.0, Lease.try_once, [Fate(2.5, 0.0, 0, None, "answered")]),
        (1, 7.5, Lease.try_once, []),
    ]
)
def test_never_two_lead(tries: Any) -> None:
    """However requests are delayed, lost, carried out late or without an answer."""
    server = Server()
    play(server, stand(server, 3), tries)


@settings(deadline=None, max_examples=200)
@given(tries=TRIES, heir=st.integers(0, 2))
def test_who_is_left_leads_within_fifteen_seconds(tries: Any, heir: int) -> None:
    """Whatever state the others left the lease in, once requests are answered again."""
    server = Server()
    leases = stand(server, 4)
    play(server, leases, tries)
    ended = any(which == heir and does is Lease.release for which, _, does, _ in tries)
    left = leases[3] if ended else leases[heir]
    began = server.now
    while not left.held():
        assert server.now - began < 15.0
        left.try_once()
        server.now += 0.0 if left.held() else 2.0


def test_a_holder_asks_once_a_renewal() -> None:
    """What it wrote last is what it replaces: nothing is read before."""
    server = Server()
    (lease,) = stand(server, 1)
    lease.try_once()
    for _ in range(5):
        server.now += 2.0
        server.asked = 0
        lease.try_once()
        assert server.asked == 1
    assert lease.held()


def test_a_touched_lease_is_kept() -> None:
    """An annotation somebody sets on it changes no leader."""
    server = Server()
    lease, other = stand(server, 2)
    lease.try_once()
    assert server.lease is not None
    server.lease["metadata"] |= {"resourceVersion": "700", "annotations": {"a": "b"}}
    server.now += 2.0
    lease.try_once()
    other.try_once()
    assert lease.held()
    assert not other.held()
    assert server.lease["metadata"]["annotations"] == {"a": "b"}
