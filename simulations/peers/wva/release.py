"""The two states of the WVA whose answers are recorded."""

from enum import StrEnum


class Release(StrEnum):
    """``OLD`` is after v0.5.1, ``NEW`` about v0.9.0; the values are their commits."""

    OLD = "b08b1c7"
    NEW = "2976e4e"
