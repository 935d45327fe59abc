"""Pods, Services and HTTPRoutes of the Kubernetes API as the emulator sees them."""

from collections.abc import Mapping
from typing import Any

from controller.core.performance.catalog import profile
from simulations.emulator.view import Balancing, PodSpec, RouteSpec, ServiceSpec

#: Annotations that tell how a pod is to be played; ``profile`` is what makes it be played at all.
PREFIX = "emulator.steelyard.dev/"
_DEFAULT_MODEL_LEN = 131_072


class InvalidAnnotation(ValueError):  # noqa: N818 - named after what it is
    """An annotation that cannot be read."""


def pod_spec(pod: Mapping[str, Any]) -> PodSpec | None:
    """Read a pod; None where it does not ask to be played.

    Raises:
        InvalidAnnotation: with the annotation's name and what was expected.
    """
    metadata, status = pod["metadata"], pod.get("status") or {}
    notes = _notes(metadata)
    if "profile" not in notes:
        return None
    try:
        timing = profile(notes["profile"])
    except ValueError as error:
        raise InvalidAnnotation(f"{PREFIX}profile: {error}") from error
    restarts = sum(c.get("restartCount", 0) for c in status.get("containerStatuses") or ())
    return PodSpec(
        namespace=metadata["namespace"],
        name=metadata["name"],
        profile=timing,
        served_model_name=notes.get("served-model-name", notes["profile"]),
        labels=metadata.get("labels") or {},
        uid=metadata.get("uid", ""),
        restarts=restarts,
        address=status.get("podIP"),
        queue_limit=_count(notes, "queue-limit"),
        max_model_len=_count(notes, "max-model-len") or _DEFAULT_MODEL_LEN,
        speed=_speed(notes),
        ready=any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in status.get("conditions") or ()
        ),
        terminating="deletionTimestamp" in metadata,
    )


def service_spec(service: Mapping[str, Any]) -> ServiceSpec | None:
    """Read a Service; None where it selects no pods.

    Raises:
        InvalidAnnotation: with the annotation's name and what was expected.
    """
    metadata, spec = service["metadata"], service.get("spec") or {}
    if not spec.get("selector"):
        return None
    law = _notes(metadata).get("balancing", Balancing.LEAST_OUTSTANDING.value)
    known = {balancing.value: balancing for balancing in Balancing}
    if law not in known:
        raise InvalidAnnotation(f"{PREFIX}balancing: found {law!r}; write {' or '.join(known)}")
    return ServiceSpec(
        namespace=metadata["namespace"],
        name=metadata["name"],
        selector=spec["selector"],
        address=spec.get("clusterIP"),
        balancing=known[law],
    )


def route_spec(route: Mapping[str, Any]) -> RouteSpec | None:
    """Read the first rule of an HTTPRoute; None where it sends nothing to a Service.

    The annotation ``overflow`` names the Service that gets what the drawn one refuses; the
    Gateway API has no word for it.
    """
    metadata = route["metadata"]
    rules = (route.get("spec") or {}).get("rules") or ()
    weights = tuple(
        (str(ref["name"]), int(ref.get("weight", 1)))
        for ref in (rules[0].get("backendRefs") or () if rules else ())
        if ref.get("kind", "Service") == "Service"
    )
    if not weights:
        return None
    return RouteSpec(
        namespace=metadata["namespace"],
        name=metadata["name"],
        weights=weights,
        overflow=_notes(metadata).get("overflow"),
    )


def _notes(metadata: Mapping[str, Any]) -> dict[str, str]:
    annotations = metadata.get("annotations") or {}
    return {
        name.removeprefix(PREFIX): text
        for name, text in annotations.items()
        if name.startswith(PREFIX)
    }


def _count(notes: Mapping[str, str], name: str) -> int | None:
    text = notes.get(name)
    if text is None:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InvalidAnnotation(f"{PREFIX}{name}: found {text!r}; write a whole number >= 1")
    return int(text)


def _speed(notes: Mapping[str, str]) -> float:
    text = notes.get("speed", "1")
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0.0 < speed < float("inf"):
        raise InvalidAnnotation(f"{PREFIX}speed: found {text!r}; write a number above 0")
    return speed
