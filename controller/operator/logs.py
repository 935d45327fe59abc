"""Logs: one JSON object a line, or plain lines, on standard error."""

import logging
import time
from typing import Final, Literal

from pythonjsonlogger.json import JsonFormatter

_FIELDS: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
_RENAMED: Final = {"asctime": "time", "levelname": "level", "name": "logger"}


def formatter(log_format: Literal["json", "text"]) -> logging.Formatter:
    """Make the formatter: times are UTC, to the second."""
    made = (
        JsonFormatter(_FIELDS, rename_fields=_RENAMED, datefmt="%Y-%m-%dT%H:%M:%SZ")
        if log_format == "json"
        else logging.Formatter(_FIELDS, datefmt="%Y-%m-%dT%H:%M:%SZ")
    )
    made.converter = time.gmtime
    return made


def configure(log_format: Literal["json", "text"], level: str) -> None:
    """Send everything to standard error; libraries speak from WARNING on unless debugging."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(log_format))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    if level != "DEBUG":
        for library in ("kopf", "kubernetes", "urllib3", "aiohttp", "asyncio"):
            logging.getLogger(library).setLevel(max(logging.WARNING, root.level))
