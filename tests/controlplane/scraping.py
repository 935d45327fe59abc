"""How Prometheus finds the pods of this control plane, whose addresses nobody answers."""

from pathlib import Path
from typing import Any

_PROFILE = "__meta_kubernetes_pod_annotation_emulator_steelyard_dev_profile"
_PHASE = "__meta_kubernetes_pod_phase"
_POD = ["__meta_kubernetes_namespace", "__meta_kubernetes_pod_name"]


def emulated_pods(
    kubeconfig: Path,
    emulator: str,
    *,
    namespace: str | None = None,
    scrape_interval_seconds: int = 1,
) -> dict[str, Any]:
    """Return a configuration that asks the emulator (``host:port``) in every such pod's place.

    Series carry the pod's own labels, as they would in production; a pod that is still loading
    is scraped in vain, as there.
    """
    discovery: dict[str, Any] = {"role": "pod", "kubeconfig_file": str(kubeconfig)}
    if namespace is not None:
        discovery["namespaces"] = {"names": [namespace]}
    job = {
        "job_name": "pods",
        "kubernetes_sd_configs": [discovery],
        "relabel_configs": [
            {"action": "keep", "source_labels": [_PROFILE], "regex": ".+"},
            {"action": "keep", "source_labels": [_PHASE], "regex": "Running"},
            {"target_label": "__address__", "replacement": emulator},
            {
                "source_labels": _POD,
                "separator": "/",
                "target_label": "__metrics_path__",
                "replacement": "/pods/$1/metrics",
            },
            *(
                {"source_labels": [source], "target_label": label}
                for source, label in (
                    (_POD[0], "namespace"),
                    (_POD[1], "pod"),
                    (_POD[1], "instance"),
                    ("__meta_kubernetes_pod_node_name", "node"),
                )
            ),
        ],
    }
    interval = f"{scrape_interval_seconds}s"
    return {"global": {"scrape_interval": interval}, "scrape_configs": [job]}
