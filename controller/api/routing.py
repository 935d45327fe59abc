"""``spec.routing`` and ``spec.arrivals``: how requests reach the variants, and where they show."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from controller.api.fields import LabelName, ObjectName, StrictInt
from controller.api.rules import Part, Rule


class HttpRouteRef(Part):
    """The rule of an HTTPRoute whose weights are written."""

    name: Annotated[ObjectName, Field(description="Name of the HTTPRoute, same namespace.")]
    rule: Annotated[
        StrictInt, Field(ge=0, le=15, description="Position of the rule in the HTTPRoute, from 0.")
    ] = 0


class RoutingSpec(Part):
    """How requests reach the replicas. Declared, never guessed: capacity depends on it."""

    RULES: ClassVar = (
        Rule(
            holds=lambda r: r.type != "Weighted" or r.http_route_ref is not None,
            cel="self.type != 'Weighted' || has(self.httpRouteRef)",
            message="Weighted routing needs the HTTPRoute whose weights are written: "
            "{name: ..., rule: 0}",
            field="httpRouteRef",
        ),
    )

    type: Annotated[
        Literal["Separate", "Shared", "Weighted", "Overflow"],
        Field(
            description="Separate: each variant has its own clients. Shared: one Service or "
            "InferencePool holds all variants. Weighted: steelyard writes the weights of an "
            "HTTPRoute. Overflow: the gateway sends on to a Fallback what a Primary refuses "
            "(429 or 503)."
        ),
    ]
    balancing: Annotated[
        Literal["PerEndpoint", "LeastLoaded"],
        Field(
            description="How one pool spreads its requests over its replicas. PerEndpoint: each "
            "replica gets the same share, as behind an ordinary Service. LeastLoaded: the replica "
            "with the fewest outstanding requests is next, as an endpoint picker does."
        ),
    ] = "PerEndpoint"
    http_route_ref: Annotated[
        HttpRouteRef | None, Field(description="The HTTPRoute; needed where type is Weighted.")
    ] = None


class ArrivalsSpec(Part):
    """Where arrivals are counted outside the engine: a gateway, an endpoint picker or a queue.

    An engine scaled to zero shows no arrivals, so without this one replica always stays.
    """

    metrics_profile: Annotated[
        LabelName,
        Field(
            examples=["envoy-gateway"],
            description="Name of a metrics profile kept by the operator's administrator: which "
            "counter, and which label, counts received requests.",
        ),
    ]
    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            examples=["llama"],
            description="Value of that label for this model: route, pool or queue.",
        ),
    ]
