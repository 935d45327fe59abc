"""Reading the API server's audit log: exactly what a client asked for."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """One request that the API server answered."""

    user: str
    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    """The HTTP status of the answer; 0 where none was given."""
    path: str
    user_agent: str

    @property
    def what(self) -> str:
        """The resource as RBAC rules write it, such as ``deployments/scale``."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


@dataclass(frozen=True)
class Audit:
    """The audit log of one control plane."""

    log: Path

    def position(self) -> int:
        """Return where the log ends now, to read only what comes after."""
        return self.log.stat().st_size if self.log.exists() else 0

    def requests(self, user: str | None = None, *, since: int = 0) -> Iterator[Request]:
        """Yield the requests of one user (of all, without one) after a ``position()``."""
        open_watches: set[str] = set()
        with self.log.open("rb") as lines:
            lines.seek(since)
            for line in lines:
                if not line.endswith(b"\n"):
                    return  # being written; it belongs to the next reading
                event = json.loads(line)
                if event["auditID"] in open_watches:
                    continue  # told when it began; this is its end
                if event["stage"] == "ResponseStarted":
                    open_watches.add(event["auditID"])
                request = _request(event)
                if user is None or request.user == user:
                    yield request

    def verbs(self, user: str, *, since: int = 0) -> dict[str, set[str]]:
        """Return the verbs a user used, by resource as RBAC writes it."""
        used: dict[str, set[str]] = {}
        for request in self.requests(user, since=since):
            if request.resource:
                used.setdefault(request.what, set()).add(request.verb)
        return used


def _request(event: dict[str, object]) -> Request:
    target = event.get("objectRef") or {}
    status = event.get("responseStatus") or {}
    user = event.get("user") or {}
    assert isinstance(target, dict)
    assert isinstance(status, dict)
    assert isinstance(user, dict)
    return Request(
        user=str(user.get("username", "")),
        verb=str(event["verb"]),
        group=str(target.get("apiGroup", "")),
        resource=str(target.get("resource", "")),
        subresource=str(target.get("subresource", "")),
        namespace=str(target.get("namespace", "")),
        name=str(target.get("name", "")),
        code=int(status.get("code", 0)),
        path=str(event["requestURI"]),
        user_agent=str(event.get("userAgent", "")),
    )
