"""Metrics profiles kept by the operator's administrator: a mounted YAML file, checked whole.

    engines:
    - name: my-engine
      running: my_running
      waiting: my_waiting
      ended: {names: [my_done_total, my_failed_total]}
      ttft: my_first_token_seconds
    arrivals:
    - name: envoy-gateway
      counter: envoy_cluster_upstream_rq_total
      nameLabel: envoy_cluster_name
      value: httproute/{namespace}/{name}/rule/0

A profile holds names, never PromQL: the queries, and their matchers, are ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import yaml
from pydantic import ValidationError, model_validator

from controller.adapters.prometheus.engines import (
    BUILT_IN,
    ArrivalsProfile,
    EngineProfile,
    _Data,
)

_SHOWN: Final = 60


class InvalidProfiles(ValueError):  # noqa: N818 - named after what it is, as users read it
    """The file cannot be used; ``lines`` has one line per wrong field."""

    def __init__(self, *lines: str) -> None:
        self.lines = lines
        super().__init__("\n".join(lines))


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiles:
    """All profiles by name."""

    engines: Mapping[str, EngineProfile]
    arrivals: Mapping[str, ArrivalsProfile]


class _File(_Data):
    """The document."""

    engines: tuple[EngineProfile, ...] = ()
    arrivals: tuple[ArrivalsProfile, ...] = ()

    @model_validator(mode="after")
    def _names_are_free(self) -> Self:
        """Refuse twins, and names that are built in."""
        taken = {profile.name for profile in BUILT_IN}
        for profile in self.engines:
            if profile.name in taken:
                raise ValueError(f'engines: the name "{profile.name}" is taken; choose another')
            taken.add(profile.name)
        names = [profile.name for profile in self.arrivals]
        if len(set(names)) < len(names):
            raise ValueError("arrivals: two profiles have one name; choose another")
        for given in self.arrivals:
            if given.namespace_label is None and "{namespace}" not in given.value:
                raise ValueError(
                    f'arrivals "{given.name}": nothing tells the namespace; give namespaceLabel, '
                    "or {namespace} in value"
                )
            if "{name}" not in given.value:
                raise ValueError(f'arrivals "{given.name}": value must hold {{name}}')
        return self


def load(path: Path | None) -> Profiles:
    """Return the built-in profiles and those of the file.

    Raises:
        InvalidProfiles: one line per field that cannot be used.
        OSError: where the file cannot be read.
    """
    if path is None:
        return _profiles(_File())
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidProfiles(f"{path}: no YAML: {error}") from error
    return parse(document)


def parse(document: object) -> Profiles:
    """Return the built-in profiles and those of a document; raises ``InvalidProfiles``."""
    if document is None:
        document = {}
    if not isinstance(document, Mapping):
        raise InvalidProfiles("write a mapping with engines and arrivals, two lists")
    try:
        return _profiles(_File.model_validate(document))
    except ValidationError as error:
        raise InvalidProfiles(*(_line(dict(entry)) for entry in error.errors())) from error


def _profiles(given: _File) -> Profiles:
    return Profiles(
        engines={profile.name: profile for profile in (*BUILT_IN, *given.engines)},
        arrivals={profile.name: profile for profile in given.arrivals},
    )


def _line(entry: dict[str, object]) -> str:
    location = entry["loc"]
    path = ".".join(str(part) for part in location) if isinstance(location, tuple) else ""
    message = str(entry["msg"]).removeprefix("Value error, ")
    if not path:
        return message
    if entry["type"] == "missing":
        return f"{path}: missing; write the metric's name"
    if entry["type"] == "extra_forbidden":
        return f"{path}: unknown field"
    return f"{path}: found {str(entry['input'])[:_SHOWN]!r}; {message}"
