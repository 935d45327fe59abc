"""What adapters look up of an object beyond its ``Policy``: targets, routes, the last status."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from controller.api.status import Status
from controller.api.v1alpha1 import ModelDeployment
from controller.core.domain.policy import ObjectKey, Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One valid object as it was last seen.

    ``status`` is what it carried then, by whomever it was written, or None where it had none.
    """

    deployment: ModelDeployment
    policy: Policy
    resource_version: str
    status: Status | None


class Directory(Protocol):
    """The objects that are watched."""

    def entry(self, key: ObjectKey) -> Entry:
        """Return the object of this key; raises ``KeyError`` once it is gone or invalid."""
        ...

    def entries(self) -> Sequence[Entry]:
        """Return all valid objects."""
        ...
