"""One page with the metrics of every replica: `python -m operatorbench.exporter`.

A process of its own. It watches the pods with our labels and plays those that are Ready: a model
that is being loaded shows nothing yet.
"""

import argparse
import json
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Final

from urllib3.exceptions import HTTPError

from controlplane.waiting import pause, seconds_now
from kubernetes import client, config
from operatorbench.replicas import Replicas, Serving
from operatorbench.traffic import Demand

#: Labels of the pods that are played.
MODEL_LABEL: Final = "operatorbench.steelyard.dev/model"
VARIANT_LABEL: Final = "operatorbench.steelyard.dev/variant"

_WATCH_SECONDS: Final = 3_600
_RETRY_SECONDS: Final = 1.0


class Pods:
    """The pods that serve, as the API server tells."""

    def __init__(self, api: client.ApiClient) -> None:
        self._core = client.CoreV1Api(api)
        self._lock = Lock()
        self._serving: dict[tuple[str, str], Serving] = {}

    def serving(self) -> dict[tuple[str, str], Serving]:
        """Those that serve now."""
        with self._lock:
            return dict(self._serving)

    def follow(self) -> None:
        """Watch, and again when that ends."""
        while True:
            # Without a version the watch begins with all that there are.
            with self._lock:
                self._serving = {}
            try:
                for event in self._events():
                    self._put(event)
            except (HTTPError, OSError, ValueError):
                pause(_RETRY_SECONDS)

    def _events(self) -> Iterator[dict[str, Any]]:
        """Yield events as they come; models of the client's would take ten times as long."""
        response = self._core.list_pod_for_all_namespaces(
            watch=True,
            label_selector=MODEL_LABEL,
            timeout_seconds=_WATCH_SECONDS,
            _preload_content=False,
        )
        rest = b""
        for chunk in response.stream(1 << 16):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (json.loads(line) for line in lines if line)

    def _put(self, event: dict[str, Any]) -> None:
        pod = event["object"]
        metadata = pod["metadata"]
        key = (metadata["namespace"], metadata["name"])
        since = None if event["type"] == "DELETED" else _ready_since(pod)
        with self._lock:
            if since is None:
                self._serving.pop(key, None)
            else:
                labels = metadata["labels"]
                model = int(labels[MODEL_LABEL])
                self._serving[key] = Serving(*key, model, labels[VARIANT_LABEL], since)


def _ready_since(pod: dict[str, Any]) -> float | None:
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition["type"] == "Ready" and condition["status"] == "True":
            return datetime.fromisoformat(condition["lastTransitionTime"]).timestamp()
    return None


class Exporter:
    """Answers scrapes; one at a time, since each lets time pass."""

    def __init__(self, pods: Pods, replicas: Replicas) -> None:
        self._pods = pods
        self._replicas = replicas
        self._began = self._last = seconds_now()
        self._lock = Lock()

    def page(self) -> bytes:
        """All series, now."""
        with self._lock:
            now = seconds_now()
            self._replicas.set(self._pods.serving())
            page = self._replicas.page(now - self._began, now - self._last)
            self._last = now
            return page

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """What answers HTTP."""
        exporter, pods = self, self._pods

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = (
                    exporter.page()
                    if self.path == "/metrics"
                    else str(len(pods.serving())).encode()
                )
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *_: Any) -> None:
                """Nothing a scrape."""

        return Handler


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(prog="operatorbench.exporter", description=__doc__)
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--models", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    asked = parser.parse_args()
    pods = Pods(config.new_client_from_config(asked.kubeconfig))
    Thread(target=pods.follow, daemon=True).start()
    replicas = Replicas(Demand.drawn(asked.models, asked.seed), asked.seed)
    exporter = Exporter(pods, replicas)
    ThreadingHTTPServer(("127.0.0.1", asked.port), exporter.handler()).serve_forever()


if __name__ == "__main__":
    main()
