"""The price table of an installation, out of its YAML file."""

from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from controller.api.prices import AcceleratorPrice, PriceTable

_Watts = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class InvalidPrices(ValueError):  # noqa: N818 - named after what it is, as users read it
    """A file that is no price table; one line per wrong field, with the fix."""


class _Accelerator(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)

    per_gpu_hour: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    idle_watts: _Watts = 0.0
    busy_watts: _Watts = 0.0

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.idle_watts > self.busy_watts:
            raise ValueError("idleWatts must not be above busyWatts")
        return self


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)

    currency: Annotated[str, Field(min_length=1, max_length=16)] = "USD"
    accelerators: Annotated[dict[str, _Accelerator], Field(min_length=1)]


def read_prices(path: Path) -> PriceTable:
    """Read a price table: ``currency``, and by accelerator ``perGpuHour`` and watts.

    Raises:
        InvalidPrices: the file is none; the message names each wrong field.
        OSError: it cannot be read.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidPrices(f"{path}: no YAML: {error}") from error
    try:
        table = _Table.model_validate(document)
    except ValidationError as error:
        raise InvalidPrices("\n".join(_lines(path, error))) from error
    return PriceTable(
        accelerators=MappingProxyType(
            {
                name: AcceleratorPrice(
                    per_gpu_hour=one.per_gpu_hour,
                    idle_watts=one.idle_watts,
                    busy_watts=one.busy_watts,
                )
                for name, one in table.accelerators.items()
            }
        ),
        currency=table.currency,
    )


def _lines(path: Path, error: ValidationError) -> list[str]:
    return [
        f"{path}: {'.'.join(str(part) for part in entry['loc']) or 'the file'}: {entry['msg']}; "
        "write accelerators: {NAME: {perGpuHour: 4.00, idleWatts: 200, busyWatts: 700}}"
        for entry in error.errors()
    ]
