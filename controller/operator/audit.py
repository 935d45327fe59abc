"""Compares what is known of with what exists, now and then.

A watch does not tell what was deleted while it was interrupted for long, and one that is stuck
tells nothing at all: this finds both.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from controller.operator.store import ObjectStore

#: Time between two audits.
AUDIT_SECONDS: Final = 300.0


@dataclass(slots=True, kw_only=True)
class Audit:
    """Forgets what is gone; says when the watch is stuck.

    ``existing`` lists the uids of all objects that are to be watched; it blocks.
    """

    store: ObjectStore
    existing: Callable[[], set[str]]
    listed: bool = False
    _unseen: set[str] = field(default_factory=set)
    _stuck: set[str] = field(default_factory=set)

    def run(self) -> None:
        """Audit once; raises what ``existing`` raises."""
        # Only what was known before the listing can be missing in it for having been deleted.
        known = self.store.uids()
        existing = self.existing()
        self.store.forget(known - existing)
        unseen = existing - self.store.uids()
        # New objects may be on their way: one that is unseen twice is not.
        self._stuck, self._unseen = unseen & self._unseen, unseen
        self.listed = True

    def stuck(self) -> str | None:
        """Say so when objects that exist are not seen: a health check."""
        return f"{len(self._stuck)} objects exist and are not seen" if self._stuck else None

    def unlisted(self) -> str | None:
        """Say so while nothing was listed, or what was is not all seen: a readiness check."""
        if not self.listed:
            return "not listed yet"
        missing = self._unseen - self.store.uids()
        return f"{len(missing)} objects are not seen yet" if missing else None
