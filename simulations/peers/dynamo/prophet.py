"""Prophet at its defaults on the last points, fitted anew for every forecast, as Dynamo uses it.

Only the trend and its seasonalities are asked for: no intervals are sampled, which halves the time.
A fit still takes .15 s, so the answers are kept: every replay of the same traffic asks the same.
"""

import logging
import warnings
from datetime import datetime, timedelta
from functools import lru_cache
from tempfile import TemporaryDirectory

import pandas as pd
from prophet import Prophet

#: Where Dynamo lets its series begin.
_START = datetime(2024, 1, 1)  # noqa: DTZ001 - Prophet takes times without a zone only

for _name in ("prophet", "cmdstanpy"):
    # Two lines of progress a fit; with no handler at all cmdstanpy would add one and turn them on.
    _logger = logging.getLogger(_name)
    _logger.addHandler(logging.NullHandler())
    _logger.setLevel(logging.WARNING)


@lru_cache(maxsize=65_536)
def forecast(
    points: tuple[float, ...], first_seconds: float, step_seconds: float, at_seconds: float
) -> float:
    """The series' value at ``at_seconds``, of any sign.

    ``points`` are ``step_seconds`` apart, the first at ``first_seconds``; all times are since the
    series began.
    """
    times = [
        _START + timedelta(seconds=first_seconds + step_seconds * step)
        for step in range(len(points))
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Prophet(uncertainty_samples=0)
        with TemporaryDirectory() as scratch:
            # Stan's files would else stay until the process ends: 16 kB a fit.
            model.fit(pd.DataFrame({"ds": times, "y": points}), output_dir=scratch)
        answer = model.predict(pd.DataFrame({"ds": [_START + timedelta(seconds=at_seconds)]}))
    return float(answer["yhat"].iloc[0])
