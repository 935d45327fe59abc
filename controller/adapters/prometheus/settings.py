"""How Prometheus is reached: address, limits and credentials, all of the operator's own choosing.

An address out of a tenant's object would be fetched with the operator's credentials, so there is
none.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

_HEADER: Final = re.compile(r"^[A-Za-z0-9-]+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusSettings:
    """Everything that is configured about the connection; seconds and bytes as named.

    A call ends after ``timeout_seconds`` and all calls of a cycle after ``cycle_seconds``,
    whatever the server does. Files are read again on each request (credentials) or connection
    (certificates), since they are rotated. A sample older than four ``scrape_interval_seconds`` is
    stale. ``lengths_seconds`` is the time between two reads of the token-length histograms, by far
    the longest answer; 0 reads them each cycle.
    """

    url: str
    timeout_seconds: float = 5.0
    cycle_seconds: float = 10.0
    max_bytes: int = 64 * 1024 * 1024
    bearer_token_file: Path | None = None
    username: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    tenant: str = ""
    tenant_header: str = "X-Scope-OrgID"
    recording_rules: bool = False
    scrape_interval_seconds: float = 15.0
    lengths_seconds: float = 60.0
    history_seconds: float = 14 * 86400.0
    history_timeout_seconds: float = 30.0

    def __post_init__(self) -> None:
        """Refuse what cannot work, all of it at once."""
        wrong = [*self._wrong_address(), *self._wrong_numbers(), *self._wrong_credentials()]
        if wrong:
            raise ValueError("; ".join(wrong))

    def _wrong_address(self) -> list[str]:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return ["url: write an address such as http://prometheus.monitoring:9090"]
        if parts.username is not None or parts.password is not None:
            return ["url: holds a user; give username and password_file instead"]
        if parts.query or parts.fragment:
            return ["url: ends at the path; a query or fragment would be lost"]
        return []

    def _wrong_numbers(self) -> list[str]:
        positive = {
            "timeout_seconds": self.timeout_seconds,
            "cycle_seconds": self.cycle_seconds,
            "scrape_interval_seconds": self.scrape_interval_seconds,
            "history_timeout_seconds": self.history_timeout_seconds,
        }
        wrong = [
            f"{name}: found {value}; write a number of seconds above 0"
            for name, value in positive.items()
            if not 0 < value < math.inf
        ]
        wrong += [
            f"{name}: found {value}; write a number of seconds, 0 or more"
            for name, value in (
                ("lengths_seconds", self.lengths_seconds),
                ("history_seconds", self.history_seconds),
            )
            if not 0 <= value < math.inf
        ]
        if self.max_bytes < 1024:
            wrong.append(f"max_bytes: found {self.max_bytes}; write at least 1024")
        return wrong

    def _wrong_credentials(self) -> list[str]:
        wrong = []
        if bool(self.username) != (self.password_file is not None):
            wrong.append("username: give it together with password_file, or neither")
        if (self.certificate_file is None) != (self.key_file is None):
            wrong.append("certificate_file: give it together with key_file, or neither")
        if self.bearer_token_file is not None and self.username:
            wrong.append("bearer_token_file: give it or username, not both")
        if not _HEADER.match(self.tenant_header):
            wrong.append(f'tenant_header: found "{self.tenant_header}"; write a header\'s name')
        if "\n" in self.tenant or "\r" in self.tenant:
            wrong.append("tenant: is one line")
        return wrong
