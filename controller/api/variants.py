"""``spec.variants``: the servable forms of the model, and what is known of them beforehand."""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from controller.api.fields import (
    MAX_REPLICAS,
    LabelName,
    Money,
    NonNegative,
    ObjectName,
    Replicas,
    Share,
    StrictInt,
    VariantName,
)
from controller.api.rules import Part, Rule

#: CEL for the minimum of the variant ``v``, which has a default that depends on its role.
MINIMUM_OF_V: Final = "(has(v.minReplicas) ? v.minReplicas : (v.role == 'Primary' ? 1 : 0))"


class TargetRef(Part):
    """The workload that runs a variant: anything with a scale subresource, same namespace."""

    api_version: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9.\-]+(/v[a-z0-9]+)?$",
            max_length=128,
            examples=["apps/v1"],
            description="API group and version of the workload.",
        ),
    ] = "apps/v1"
    kind: Annotated[
        str,
        Field(
            pattern=r"^[A-Z][A-Za-z0-9]*$",
            max_length=63,
            examples=["Deployment"],
            description="Kind of the workload.",
        ),
    ] = "Deployment"
    name: Annotated[ObjectName, Field(description="Name of the workload.")]


class BackendRef(Part):
    """What an HTTPRoute names to reach a variant's replicas."""

    RULES: ClassVar = (
        Rule(
            holds=lambda ref: ref.kind != "Service" or ref.port is not None,
            cel="self.kind != 'Service' || has(self.port)",
            message="a Service needs its port, for example 8000",
            field="port",
        ),
    )

    kind: Annotated[
        Literal["Service", "InferencePool"], Field(description="Kind of the backend.")
    ] = "Service"
    name: Annotated[ObjectName, Field(description="Name of the backend, same namespace.")]
    port: Annotated[
        StrictInt | None, Field(ge=1, le=65535, description="Port; needed for a Service.")
    ] = None


class PerformanceParameters(Part):
    """Timing of one replica: how long one engine iteration takes, in milliseconds.

    An iteration that decodes b sequences and prefills n prompt tokens lasts
    sqrt(t0^2 + (delta (n + b))^2) + epsilon (attention of the prefill) + kappa (KV tokens read)
    + beta b.
    """

    RULES: ClassVar = (
        Rule(
            holds=lambda p: float(p.t0_milliseconds) > 0,
            cel="double(self.t0Milliseconds) > 0.0",
            message="must be above 0: no iteration takes no time",
            field="t0Milliseconds",
        ),
    )

    t0_milliseconds: Annotated[
        NonNegative,
        Field(description="Time of an iteration with almost nothing to do: weight reads."),
    ]
    delta_milliseconds: Annotated[NonNegative, Field(description="Arithmetic per token.")]
    epsilon_milliseconds: Annotated[
        NonNegative, Field(description="Prefill attention per squared prompt token.")
    ] = "0"
    kappa_milliseconds: Annotated[NonNegative, Field(description="Decode attention per KV token.")]
    beta_milliseconds: Annotated[
        NonNegative, Field(description="Overhead per decoding sequence.")
    ] = "0"
    kv_capacity_tokens: Annotated[
        StrictInt, Field(ge=1, le=1_000_000_000, description="Tokens that the KV cache holds.")
    ]
    max_running: Annotated[
        StrictInt,
        Field(ge=1, le=65536, description="Sequences the engine runs at once (max-num-seqs)."),
    ] = 256
    max_batched_tokens: Annotated[
        StrictInt,
        Field(
            ge=1,
            le=1_048_576,
            description="Tokens of one iteration (max-num-batched-tokens).",
        ),
    ] = 8192


class Performance(Part):
    """Where learning the speed of a replica starts: a built-in profile or parameters."""

    RULES: ClassVar = (
        Rule(
            holds=lambda p: (p.profile is None) != (p.parameters is None),
            cel="has(self.profile) != has(self.parameters)",
            message="name a built-in profile or give parameters, one of the two",
        ),
    )

    profile: Annotated[
        str | None,
        Field(
            pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
            max_length=63,
            examples=["llama-8b-fp8-h100"],
            description="Name of a built-in profile.",
        ),
    ] = None
    parameters: Annotated[
        PerformanceParameters | None, Field(description="Parameters of a profile of your own.")
    ] = None


class VariantSpec(Part):
    """One servable form of the model: its workload, price, quality and bounds."""

    RULES: ClassVar = (
        Rule(
            holds=lambda v: v.minimum <= v.max_replicas,
            cel=(
                "(has(self.minReplicas) ? self.minReplicas : "
                "(self.role == 'Primary' ? 1 : 0)) <= self.maxReplicas"
            ),
            message="must be at least minReplicas",
            field="maxReplicas",
        ),
        Rule(
            holds=lambda v: v.accelerator is not None or v.cost_per_replica_hour is not None,
            cel="has(self.accelerator) || has(self.costPerReplicaHour)",
            message="give accelerator (a key of the price table) or costPerReplicaHour",
        ),
        Rule(
            holds=lambda v: v.cost_per_replica_hour is None or float(v.cost_per_replica_hour) > 0,
            cel="!has(self.costPerReplicaHour) || double(self.costPerReplicaHour) > 0.0",
            message='must be above 0; to compare without prices give every variant "1"',
            field="costPerReplicaHour",
        ),
    )

    name: Annotated[VariantName, Field(description="Name of the variant, unique in this object.")]
    role: Annotated[
        Literal["Primary", "Fallback"],
        Field(
            description="Primary: the preferred quality, whatever its bits. "
            "Fallback: stands in for it within the quality budget."
        ),
    ]
    target_ref: Annotated[TargetRef, Field(description="The workload whose replicas are set.")]
    served_model_name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            examples=["llama-3.1-8b"],
            description="Name of the model as the engine's metrics carry it.",
        ),
    ]
    engine: Annotated[
        str,
        Field(
            pattern=r"^(VLLM|SGLang|TGI|TritonTRTLLM|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$",
            max_length=63,
            examples=["VLLM"],
            description="Serving engine: VLLM, SGLang, TGI, TritonTRTLLM, or the name of a "
            "metrics profile kept by the operator's administrator.",
        ),
    ] = "VLLM"
    backend_ref: Annotated[
        BackendRef | None,
        Field(description="What the HTTPRoute names; needed where routing is Weighted."),
    ] = None
    accelerator: Annotated[
        LabelName | None,
        Field(
            examples=["nvidia-h100"],
            description="Kind of GPU: a key of the operator's price table (price, watts).",
        ),
    ] = None
    cost_per_replica_hour: Annotated[
        Money | None,
        Field(
            description="Price of one replica for an hour, as a decimal in the currency of the "
            "price table. Wins over accelerator: for MIG, shared and multi-node replicas."
        ),
    ] = None
    quality: Annotated[
        Share,
        Field(
            examples=["0.97"],
            description="Quality of the answers, a decimal from 0 to 1; the preferred form has 1.",
        ),
    ]
    min_replicas: Annotated[
        Replicas | None,
        Field(description="Replicas always kept. Default: 1 for a Primary, 0 for a Fallback."),
    ] = None
    max_replicas: Annotated[
        StrictInt, Field(ge=1, le=MAX_REPLICAS, description="Replicas never exceeded.")
    ]
    gpus_per_replica: Annotated[
        StrictInt | None,
        Field(
            ge=1, le=1024, description="GPUs of one replica. Default: read off the pod template."
        ),
    ] = None
    cold_start_seconds: Annotated[
        StrictInt,
        Field(
            ge=1,
            le=86400,
            description="Seconds from creating a replica until it is Ready. Only a first guess: "
            "measured cold starts replace it.",
        ),
    ] = 180
    performance: Annotated[
        Performance | None,
        Field(description="Speed of one replica. Only a first guess: it is learned from metrics."),
    ] = None
    queue_limit: Annotated[
        StrictInt | None,
        Field(
            ge=1,
            le=1_000_000,
            description="Outstanding requests (running and waiting) at which the replica, or the "
            "gateway before it, refuses more. Absent: it never refuses.",
        ),
    ] = None

    @property
    def minimum(self) -> int:
        """Replicas always kept, the default of the role filled in."""
        if self.min_replicas is not None:
            return self.min_replicas
        return 1 if self.role == "Primary" else 0
