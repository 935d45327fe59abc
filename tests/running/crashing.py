"""``python -m running.crashing``: the operator, killed with SIGKILL at its n-th write.

CRASH_AT counts writes other than the Lease's, from 1; CRASH_AFTER says whether the n-th is still
carried out. So it dies between two given steps of its first cycle that writes.
"""

import os
import signal
import sys
from itertools import count
from typing import Any

from controller.__main__ import main
from controller.adapters.kubernetes.client import Kubernetes

_AT = int(os.environ["CRASH_AT"])
_AFTER = os.environ["CRASH_AFTER"] == "yes"


def _install() -> None:
    """Count the writes, and end at the one."""
    answered = Kubernetes._answered  # where every request passes
    numbers = count(1)

    def counting(self: Kubernetes, method: str, path: str, *rest: Any) -> Any:
        if method == "GET" or "/leases" in path:
            return answered(self, method, path, *rest)
        number = next(numbers)
        if number == _AT and not _AFTER:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = answered(self, method, path, *rest)
        if number == _AT:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    Kubernetes._answered = counting  # type: ignore[method-assign]


if __name__ == "__main__":
    _install()
    sys.exit(main([]))
