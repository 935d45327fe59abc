"""The CustomResourceDefinition: names, columns and subresources around the generated schema.

``python -m controller.api.crd`` prints it; ``crds/modeldeployments.yaml`` is that output. There is
no scale subresource: with several variants one number of replicas has no meaning.
"""

import sys
from typing import Any, Final

import yaml

from controller.api.schema import Node, structural
from controller.api.spec import ModelDeploymentSpec
from controller.api.status import Status
from controller.api.v1alpha1 import GROUP, KIND, VERSION

_PLURAL: Final = "modeldeployments"

_HEADER: Final = "# Generated from controller/api by `make generate`; edits are overwritten.\n"

#: (name, type, JSON path, description); shown always.
_COLUMNS: Final = (
    ("Mode", "string", ".spec.mode", "Recommend, Auto or Off"),
    ("SLO", "string", ".spec.slo.target", "Share of requests that must be good"),
    ("Primary", "string", ".status.primary", "Replicas of the preferred quality: ready/desired"),
    ("Fallback", "string", ".status.fallback", "Replicas of the fallbacks: ready/desired"),
    ("Attainment", "string", ".status.attainment.lower", "Share of requests that were good"),
    ("Cost/h", "string", ".status.cost.perHour", "Cost of an hour"),
    ("Reason", "string", ".status.decision.reason", "What kept the decision from being cheaper"),
    ("Age", "date", ".metadata.creationTimestamp", "Time since creation"),
)


def _condition(kind: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].status'


#: The same, shown by ``kubectl get -o wide``.
_WIDE_COLUMNS: Final = (
    ("Ready", "string", _condition("Ready"), "Whether the spec is usable"),
    ("Metrics", "string", _condition("MetricsAvailable"), "Whether metrics are fresh and whole"),
    ("Forecast", "string", ".status.forecast.requestsPerSecond", "Expected requests per second"),
    ("Trusted", "string", _condition("ForecastTrusted"), "Whether the forecast decides"),
    ("Errors-Left", "string", ".status.budgets.errorsLeft", "Share of the error budget left"),
    ("Quality-Left", "string", ".status.budgets.qualityLeft", "Share of the quality budget left"),
    ("Saved", "string", ".status.cost.saved", "Share of cost saved against static peak"),
)


def crd() -> Node:
    """Return the CustomResourceDefinition as a document."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{_PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": _PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["md"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": [
                        *(_column(*column) for column in _COLUMNS),
                        *(_column(*column) | {"priority": 1} for column in _WIDE_COLUMNS),
                    ],
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": _schema()},
                }
            ],
        },
    }


def _column(name: str, kind: str, path: str, description: str) -> Node:
    return {"name": name, "type": kind, "jsonPath": path, "description": description}


def _schema() -> Node:
    return {
        "type": "object",
        "description": "One served model: its latency SLO, its variants, and the budgets of errors "
        "and of quality within which their replicas are set at the least cost.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of this API."},
            "kind": {"type": "string", "description": f"Always {KIND}."},
            "metadata": {"type": "object"},
            "spec": structural(ModelDeploymentSpec),
            "status": structural(Status),
        },
    }


class _PlainDumper(yaml.SafeDumper):
    """Writes shared parts twice instead of by anchor, which kubectl would read and people not."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the name and shape yaml calls
        """Never use an alias."""
        return True


def render() -> str:
    """Return the CRD as YAML: the same bytes every time."""
    return _HEADER + yaml.dump(crd(), Dumper=_PlainDumper, sort_keys=False, width=100)


if __name__ == "__main__":
    sys.stdout.write(render())
