"""Replays real traffic through the controller's own decision code, beside peers and bounds."""

import os

# The matrices here are small: threads of the linear algebra cost more than they bring, and replays
# already run one to a core. This must be said before numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
