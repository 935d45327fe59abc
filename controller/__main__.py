"""``python -m controller``: run the operator, or print its settings."""

import asyncio
import gc
import os
import sys

from controller.operator import logs, wiring
from controller.operator.connection import connect
from controller.settings import InvalidSettings, load, table

#: Exit status of a configuration that cannot be used.
_UNUSABLE = 2

#: Objects made between two looks for garbage in cycles. What thousands of ModelDeployments keep is
#: looked at each time, and hardly anything of ours is garbage of that kind: at the defaults of
#: Python these looks are a fifth of a cycle.
_GARBAGE_THRESHOLDS = (200_000, 50, 100)


async def operate() -> int:
    """Run the operator as the environment says."""
    try:
        settings = load(os.environ)
        logs.configure(settings.log_format, settings.log_level)
        operator = wiring.build(settings, connect)
        gc.freeze()
        gc.set_threshold(*_GARBAGE_THRESHOLDS)
    except ValueError as error:
        lines = error.lines if isinstance(error, InvalidSettings) else (str(error),)
        for line in lines:
            sys.stderr.write(f"{line}\n")
        return _UNUSABLE
    return await operator.run()


def main(arguments: list[str]) -> int:
    """Run, or with ``--settings`` print every setting with its default, unit and meaning."""
    if arguments == ["--settings"]:
        for name, default, unit, meaning in table():
            sys.stdout.write(f"{name}={default}  {f'[{unit}] ' if unit else ''}{meaning}\n")
        return 0
    if arguments:
        sys.stderr.write("usage: python -m controller [--settings]; see STEELYARD_... variables\n")
        return _UNUSABLE
    return asyncio.run(operate())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
