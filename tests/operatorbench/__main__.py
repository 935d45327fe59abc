"""Measures the operator on a real API server and a real Prometheus; prints one JSON document.

`PYTHONPATH=tests python -m operatorbench [--objects 10 100 1000]`. Each number of ModelDeployments
has a control plane of its own, one after the other. The operator keeps to one core, everything else
to the others. Progress goes to standard error.
"""

import signal
import sys

from operatorbench.command import main

if __name__ == "__main__":
    # What ends us ends all that we started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
