"""The ModelDeployment of ``steelyard.dev/v1alpha1``: the contract with users.

Defaults, units and limits live here, once: the CRD is generated from these types. The version
only ever grows by optional fields, because an operator has no conversion webhook to offer.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, ValidationError

from controller.api.errors import InvalidModelDeployment, explain
from controller.api.fields import StrictInt
from controller.api.rules import Part
from controller.api.spec import ModelDeploymentSpec

GROUP: Final = "steelyard.dev"
VERSION: Final = "v1alpha1"
KIND: Final = "ModelDeployment"

#: Stops scaling while it is there: ``true`` all of it, ``in`` or ``out`` one way. Any other value
#: but ``false`` stops all, too: who writes it wants something stopped.
PAUSED_ANNOTATION: Final = "steelyard.dev/paused"


class ObjectMeta(Part):
    """What is read of an object's metadata; Kubernetes owns the rest."""

    model_config = ConfigDict(extra="ignore")

    name: Annotated[str, Field(min_length=1, max_length=253)]
    namespace: Annotated[str, Field(min_length=1, max_length=63)] = "default"
    uid: str = ""
    generation: Annotated[StrictInt, Field(ge=0)] = 0
    creation_timestamp: str = ""
    annotations: Annotated[dict[str, str], Field(default_factory=dict)]


class ModelDeployment(Part):
    """One served model: its SLO, its variants, its budgets."""

    api_version: Literal["steelyard.dev/v1alpha1"]
    kind: Literal["ModelDeployment"]
    metadata: ObjectMeta
    spec: ModelDeploymentSpec


def parse(document: Mapping[str, Any]) -> ModelDeployment:
    """Read a ModelDeployment as the API server or a YAML file holds it; its status is not read.

    Raises:
        InvalidModelDeployment: one line per wrong field: path, what was found, what to write.
    """
    if not isinstance(document, Mapping):
        raise InvalidModelDeployment(
            f"found {type(document).__name__}; write a mapping with "
            "apiVersion, kind, metadata and spec"
        )
    body = {key: value for key, value in document.items() if key != "status"}
    try:
        return ModelDeployment.model_validate(body)
    except ValidationError as error:
        raise InvalidModelDeployment(*explain(error, ModelDeployment)) from error
