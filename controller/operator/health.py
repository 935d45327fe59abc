"""Probes and the account of decisions, over HTTP on the health port.

``/healthz`` says whether a restart would help: the cycle or the watch is stuck. ``/readyz`` says
whether this operator could take over now. ``/explain/NAMESPACE/NAME`` answers with JSON.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from controller.core.domain.policy import ObjectKey
from controller.operator.explanation import Explanations

#: Says what is wrong, or None.
Check = Callable[[], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What is probed, by name."""

    alive: Mapping[str, Check]
    ready: Mapping[str, Check]
    explanations: Explanations

    def application(self) -> web.Application:
        """The HTTP application."""
        application = web.Application()
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/explain/{namespace}/{name}", self._explain)
        return application

    async def _healthz(self, _: web.Request) -> web.Response:
        return _probed(self.alive)

    async def _readyz(self, _: web.Request) -> web.Response:
        return _probed({**self.alive, **self.ready})

    async def _explain(self, request: web.Request) -> web.Response:
        key = ObjectKey(request.match_info["namespace"], request.match_info["name"])
        document = self.explanations.explain(key)
        if document is None:
            return web.json_response(
                {"error": f"nothing was decided about {key.namespace}/{key.name} by this operator"},
                status=web.HTTPNotFound.status_code,
            )
        return web.json_response(_plain(document), dumps=_dumps)


def stuck(what: str, beat: Callable[[], float], steady: Callable[[], float], after: float) -> Check:
    """Wrong once the last sign of life is older than ``after`` seconds."""

    def check() -> str | None:
        age = steady() - beat()
        return f"{what}: no sign of life for {age:.0f} s" if age > after else None

    return check


def _probed(checks: Mapping[str, Check]) -> web.Response:
    wrong = {name: said for name, check in checks.items() if (said := check()) is not None}
    lines = [f"{name}: {said}" for name, said in wrong.items()] or ["ok"]
    return web.Response(text="\n".join(lines) + "\n", status=503 if wrong else 200)


def _plain(value: Any) -> Any:
    """The document with what JSON has no number for as null."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _dumps(value: Any) -> str:
    return json.dumps(value, allow_nan=False)
