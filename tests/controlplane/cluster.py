"""One control plane: its servers, who may talk to it, and how tests do."""

import secrets
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client.rest import ApiException

from controlplane import components
from controlplane.audit import Audit
from controlplane.certificates import issue
from controlplane.components import ADMIN, Layout, Ports
from controlplane.kubectl import KubectlFailed, kubectl
from controlplane.kwok import GpuNodes
from controlplane.processes import Server, free_ports
from controlplane.programs import Programs
from controlplane.waiting import until
from kubernetes import client, config

__all__ = ["ControlPlane", "KubectlFailed", "user_of"]

CRD = Path(__file__).parents[2] / "crds" / "modeldeployments.yaml"


@dataclass
class ControlPlane:
    """Running servers on the loopback, with no node until one is added."""

    layout: Layout
    etcd: Server
    apiserver: Server
    controller_manager: Server
    scheduler: Server
    kwok: Server
    api: client.ApiClient
    """A client of the administrator's."""
    nodes: GpuNodes
    audit: Audit

    @classmethod
    def start(cls, programs: Programs, folder: Path | None = None) -> "ControlPlane":
        """Start everything; on return it answers, and pods can be created in ``default``.

        Raises:
            ServerFailed: with the log of the server that did not come up.
        """
        layout = _lay_out(programs, folder or Path(tempfile.mkdtemp(prefix="steelyard-cluster-")))
        etcd, apiserver = components.etcd(layout), components.apiserver(layout)
        later = (
            components.controller_manager(layout),
            components.scheduler(layout),
            components.kwok(layout),
        )
        servers = (etcd, apiserver, *later)
        try:
            etcd.start()
            etcd.wait_healthy()
            apiserver.start()
            apiserver.wait_healthy()
            for server in later:
                server.start()
            for server in later:
                server.wait_healthy()
            api = config.new_client_from_config(str(layout.kubeconfig(ADMIN)))
            plane = cls(layout, *servers, api, GpuNodes(api), Audit(layout.audit_log))
            plane.wait_namespace("default")
        except BaseException:
            for server in reversed(servers):
                server.kill()
            raise
        return plane

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.layout.kubeconfig(ADMIN)

    @property
    def servers(self) -> tuple[Server, ...]:
        """All servers, in the order they start."""
        return (self.etcd, self.apiserver, self.controller_manager, self.scheduler, self.kwok)

    def stop(self, *, keep_folder: bool = False) -> None:
        """End every server and take the folder away."""
        self.api.close()
        for server in reversed(self.servers):
            server.kill()  # nothing of it is to be kept, so nothing need be flushed
        if not keep_folder:
            shutil.rmtree(self.layout.folder, ignore_errors=True)

    def stop_apiserver(self) -> None:
        """End the API server: clients are refused until ``start_apiserver``."""
        self.apiserver.stop(seconds=2.0)  # it would drain open watches for a minute

    def start_apiserver(self) -> None:
        """Start the API server again at the same address."""
        self.apiserver.start()
        self.apiserver.wait_healthy()

    def restart_apiserver(self) -> None:
        """End the API server and start it again; every watch breaks."""
        self.stop_apiserver()
        self.start_apiserver()

    def wait_namespace(self, name: str) -> None:
        """Wait until pods can be created there, which takes its default ServiceAccount."""
        core = client.CoreV1Api(self.api)
        until(
            lambda: _found(lambda: core.read_namespaced_service_account("default", name)),
            f"the default ServiceAccount of {name}",
        )

    def create_namespace(self, name: str, **labels: str) -> None:
        """Create a namespace that pods can be created in."""
        metadata = {"name": name, "labels": labels}
        client.CoreV1Api(self.api).create_namespace({"metadata": metadata})
        self.wait_namespace(name)

    def delete_namespace(self, name: str, *, wait: bool = True) -> None:
        """Delete a namespace, its pods without their grace, and wait until all in it is gone.

        Kubernetes looks at a deleted namespace after 5 s at the earliest; without ``wait`` only
        its pods are gone on return, and their GPUs free.
        """
        core = client.CoreV1Api(self.api)
        core.delete_namespace(name)  # from here on nothing new is created in it

        def without_pods() -> bool:
            core.delete_collection_namespaced_pod(name, grace_period_seconds=0)
            return not core.list_namespaced_pod(name).items

        until(without_pods, f"the pods of {name} to go")
        if wait:
            until(lambda: not _found(lambda: core.read_namespace(name)), f"namespace {name} to go")

    def apply(self, *what: Path | Mapping[str, Any], namespace: str | None = None) -> str:
        """Apply files, folders or objects as ``kubectl apply`` does, on the server's side.

        ``namespace`` is for objects that name none; ``default`` without it.
        """
        said = []
        inside = [] if namespace is None else ["-n", namespace]
        command = ["apply", "--server-side", "--force-conflicts", *inside, "-f"]
        for each in what:
            if isinstance(each, Path):
                said.append(self.kubectl(*command, str(each)))
            else:
                said.append(self.kubectl(*command, "-", stdin=yaml.safe_dump(dict(each))))
        return "".join(said)

    def apply_crd(self) -> None:
        """Apply the CRD of ModelDeployments and wait until objects of it can be listed."""
        self.apply(CRD)
        objects = client.CustomObjectsApi(self.api)
        # `kubectl wait` fails on a CRD without conditions yet; and right after it was
        # established a list may still answer 404 or 429.
        until(
            lambda: _found(
                lambda: objects.list_cluster_custom_object(
                    "steelyard.dev", "v1alpha1", "modeldeployments"
                ),
                also=(429,),
            ),
            "ModelDeployments to be served",
        )

    def kubectl(self, *arguments: str, stdin: str = "", kubeconfig: Path | None = None) -> str:
        """Run kubectl and return what it printed.

        Raises:
            KubectlFailed: with what it said, the server's message included.
        """
        return kubectl(self.layout.programs, kubeconfig or self.kubeconfig, arguments, stdin=stdin)

    def kubeconfig_for(self, service_account: str, namespace: str) -> Path:
        """Write a kubeconfig with a token of this ServiceAccount (made where missing)."""
        core = client.CoreV1Api(self.api)
        if not _found(lambda: core.read_namespaced_service_account(service_account, namespace)):
            core.create_namespaced_service_account(
                namespace, {"metadata": {"name": service_account}}
            )
        request = {"spec": {"expirationSeconds": 86400}}
        issued = core.create_namespaced_service_account_token(service_account, namespace, request)
        path = self.layout.folder / f"{namespace}.{service_account}.kubeconfig"
        write_kubeconfig(path, self.layout, service_account, issued.status.token, namespace)
        return path

    def client_for(self, kubeconfig: Path) -> client.ApiClient:
        """Return a client with this kubeconfig; the caller closes it."""
        return config.new_client_from_config(str(kubeconfig))


def user_of(service_account: str, namespace: str) -> str:
    """Return a ServiceAccount's name as the audit log has it."""
    return f"system:serviceaccount:{namespace}:{service_account}"


def write_kubeconfig(path: Path, layout: Layout, user: str, token: str, namespace: str) -> None:
    """Write a kubeconfig that reaches this control plane as one user."""
    cluster = {"server": layout.url, "certificate-authority": str(layout.certificates.ca)}
    context = {"cluster": "steelyard", "user": user, "namespace": namespace}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "steelyard", "cluster": cluster}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "steelyard", "context": context}],
        "current-context": "steelyard",
    }
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    path.chmod(0o600)


def _lay_out(programs: Programs, folder: Path) -> Layout:
    folder.mkdir(parents=True, exist_ok=True)
    layout = Layout(folder, Ports(*free_ports(6)), issue(folder / "certificates"), programs)
    rows = []
    for number, (user, groups) in enumerate(components.USERS.items()):
        token = secrets.token_hex(16)
        rows.append(f'{token},{user},{number},"{groups}"')
        write_kubeconfig(layout.kubeconfig(user), layout, user, token, "default")
    layout.tokens.write_text("\n".join(rows) + "\n", encoding="utf-8")
    layout.tokens.chmod(0o600)
    return layout


def _found(read: Any, *, also: Iterable[int] = ()) -> bool:
    """Return whether a read finds its object; codes of ``also`` count as not yet."""
    try:
        read()
    except ApiException as error:
        if error.status in {404, *also}:
            return False
        raise
    return True
