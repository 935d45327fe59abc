"""Scalar types of the API: every string has a pattern and a length, every number a range.

There is no float: what is not an integer is a decimal in a string, because a float does not
survive the round trip through JSON, YAML and several clients. The limits also keep the estimated
cost of the CEL rules within what an API server accepts.
"""

from typing import Annotated, Final

from pydantic import Field, Strict

#: A DNS label: what Kubernetes takes for most names.
_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"

#: Replicas of one variant, of which no fleet has more.
MAX_REPLICAS: Final = 1000

StrictInt = Annotated[int, Strict()]
"""An integer and nothing that can be turned into one: the API server does not convert either."""

StrictBool = Annotated[bool, Strict()]

Share = Annotated[
    str, Field(pattern=r"^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$", max_length=8, examples=["0.05"])
]
"""A decimal in [0, 1]."""

Money = Annotated[
    str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,6})?$", max_length=16, examples=["4.00"])
]
"""A decimal of at least 0, in the currency of the price table."""

NonNegative = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{1,6}(\.[0-9]{1,12})?(e-?[0-9]{1,2})?$",
        max_length=24,
        examples=["6.68", "5.1e-7"],
    ),
]
"""A decimal of at least 0, small ones with an exponent."""

Replicas = Annotated[StrictInt, Field(ge=0, le=MAX_REPLICAS)]

VariantName = Annotated[str, Field(pattern=f"^{_LABEL}$", max_length=32, examples=["fp8"])]

LabelName = Annotated[str, Field(pattern=f"^{_LABEL}$", max_length=63, examples=["llama-fp8"])]

ObjectName = Annotated[
    str, Field(pattern=f"^{_LABEL}(\\.{_LABEL})*$", max_length=253, examples=["llama-fp8"])
]


def _cron_field(values: str) -> str:
    """Pattern of one field: ``*``, a value, a range or a list of them, each with a step."""
    item = rf"(\*|({values})(-({values}))?)(/[1-9][0-9]?)?"
    return rf"{item}(,{item})*"


#: Minute, hour, day of month, month, day of week (0 or 7 is Sunday), by number.
_CRON: Final = " ".join(
    _cron_field(values)
    for values in (
        "[0-5]?[0-9]",
        "[01]?[0-9]|2[0-3]",
        "0?[1-9]|[12][0-9]|3[01]",
        "0?[1-9]|1[0-2]",
        "[0-7]",
    )
)

Cron = Annotated[str, Field(pattern=f"^{_CRON}$", max_length=100, examples=["0 8 * * 1-5"])]

TimeZone = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_+\-]*(/[A-Za-z0-9_+\-]+)*$",
        max_length=64,
        examples=["Europe/Berlin"],
    ),
]
