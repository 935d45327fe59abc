"""What becomes of a cycle's record: metrics, signs of life, and one log line a failure."""

import logging
from dataclasses import dataclass, field
from typing import Final

from controller.adapters.telemetry import Telemetry
from controller.core.domain.policy import ObjectKey
from controller.operator.cycle import CycleRecord
from controller.operator.explanation import Explanations

_LOG: Final = logging.getLogger("steelyard.cycle")


@dataclass(slots=True, kw_only=True)
class CycleRecorder:
    """Implements ``cycle.Recorder``.

    A failure is logged when it begins and when it is over, not each tick: an outage of minutes
    over thousands of objects would else fill every log.
    """

    telemetry: Telemetry
    explanations: Explanations
    _failing: dict[tuple[ObjectKey | None, str], str] = field(default_factory=dict)

    def cycle_done(self, record: CycleRecord) -> None:
        """See ``cycle.Recorder``."""
        told = self.telemetry
        told.leading.set(1)
        told.cycle_seconds.observe(record.seconds)
        told.loop_lag_seconds.set(record.lag_seconds)
        told.last_cycle.set(record.now)
        told.objects.labels(state="valid").set(record.valid)
        told.objects.labels(state="invalid").set(record.invalid)
        if record.overrun:
            told.overruns.inc()
        if record.cut_off:
            told.cut_off.inc()
            _LOG.warning("a cycle was cut off by its deadline", extra={"seconds": record.seconds})
        for failure in record.failures:
            told.failures.labels(kind=type(failure.error).__name__).inc()
        self._log_changes(record)

    def standing_by(self) -> None:
        """See ``cycle.Recorder``."""
        self.telemetry.leading.set(0)
        self.telemetry.forget_all()
        self.explanations.forget_all()
        self._failing = {}

    def _log_changes(self, record: CycleRecord) -> None:
        failing = {(one.key, type(one.error).__name__): str(one.error) for one in record.failures}
        for (key, kind), text in failing.items():
            if (key, kind) not in self._failing:
                _LOG.warning("%s: %s", kind, text, extra=_about(key, kind))
        for key, kind in self._failing.keys() - failing.keys():
            _LOG.info("%s is over", kind, extra=_about(key, kind))
        self._failing = failing


def _about(key: ObjectKey | None, kind: str) -> dict[str, str]:
    if key is None:
        return {"error": kind}
    return {"error": kind, "namespace": key.namespace, "modeldeployment": key.name}
