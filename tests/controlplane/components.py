"""The command lines of Kubernetes' servers: what differs from a production cluster, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from controlplane.certificates import Certificates
from controlplane.processes import Server, healthy
from controlplane.programs import Programs

ADMIN = "admin"
#: User -> groups. The servers' own users get their rights from Kubernetes' bootstrap roles.
USERS: Mapping[str, str] = {
    ADMIN: "system:masters",
    "system:kube-controller-manager": "",
    "system:kube-scheduler": "",
    "kwok": "system:masters",
}
#: Whose requests the audit log leaves out: the control plane's own chatter.
_QUIET_USERS = ("system:apiserver", "system:kube-controller-manager", "system:kube-scheduler")
_SERVICE_ADDRESSES = "10.96.0.0/16"
POD_ADDRESSES = "10.244.0.0/16"


@dataclass(frozen=True)
class Ports:
    """Where each server listens on the loopback."""

    etcd: int
    etcd_peers: int
    apiserver: int
    controllers: int
    scheduler: int
    kwok: int


@dataclass(frozen=True)
class Layout:
    """Where everything of one control plane lies."""

    folder: Path
    ports: Ports
    certificates: Certificates
    programs: Programs

    @property
    def url(self) -> str:
        """The API server's address."""
        return f"https://127.0.0.1:{self.ports.apiserver}"

    @property
    def tokens(self) -> Path:
        """The static tokens of USERS."""
        return self.folder / "tokens.csv"

    @property
    def audit_log(self) -> Path:
        """What every client asked for, one JSON object a line."""
        return self.folder / "audit.log"

    def kubeconfig(self, user: str) -> Path:
        """Return the kubeconfig of one of USERS."""
        return self.folder / (
            "kubeconfig" if user == ADMIN else f"{user.removeprefix('system:')}.kubeconfig"
        )


def etcd(layout: Layout) -> Server:
    """Return the store; what it holds is worth nothing, so it never waits for the disk."""
    ports = layout.ports
    clients, peers = f"http://127.0.0.1:{ports.etcd}", f"http://127.0.0.1:{ports.etcd_peers}"
    return Server(
        "etcd",
        [
            str(layout.programs.path("etcd")),
            "--unsafe-no-fsync",
            f"--data-dir={layout.folder / 'etcd'}",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
        ],
        layout.folder,
        lambda: healthy(f"{clients}/health"),
    )


def apiserver(layout: Layout) -> Server:
    """Return the API server: RBAC on, no admission plug-in off, every request audited."""
    made = layout.certificates
    policy = layout.folder / "audit-policy.yaml"
    policy.write_text(yaml.safe_dump(_audit_policy()), encoding="utf-8")
    return Server(
        "kube-apiserver",
        [
            str(layout.programs.path("kube-apiserver")),
            f"--etcd-servers=http://127.0.0.1:{layout.ports.etcd}",
            "--bind-address=127.0.0.1",
            f"--secure-port={layout.ports.apiserver}",
            # A documentation address: the loopback is refused here, and nobody reads this one.
            "--advertise-address=192.0.2.1",
            "--endpoint-reconciler-type=none",
            f"--service-cluster-ip-range={_SERVICE_ADDRESSES}",
            "--authorization-mode=RBAC",
            f"--token-auth-file={layout.tokens}",
            f"--tls-cert-file={made.serving}",
            f"--tls-private-key-file={made.serving_key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={made.service_accounts_key}",
            f"--service-account-signing-key-file={made.service_accounts_key}",
            f"--requestheader-client-ca-file={made.front_proxy_ca}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={made.front_proxy}",
            f"--proxy-client-key-file={made.front_proxy_key}",
            "--enable-aggregator-routing=false",
            f"--audit-policy-file={policy}",
            f"--audit-log-path={layout.audit_log}",
        ],
        layout.folder,
        lambda: healthy(f"{layout.url}/readyz", made.ca),
    )


def controller_manager(layout: Layout) -> Server:
    """Return the controllers, their rates raised and the HPA's periods cut for tests."""
    made, port = layout.certificates, layout.ports.controllers
    return Server(
        "kube-controller-manager",
        [
            str(layout.programs.path("kube-controller-manager")),
            f"--kubeconfig={layout.kubeconfig('system:kube-controller-manager')}",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={made.service_accounts_key}",
            f"--root-ca-file={made.ca}",
            "--authentication-skip-lookup=true",
            *_served(layout, port),
            "--kube-api-qps=200",
            "--kube-api-burst=400",
            # Otherwise it makes a folder of the system's.
            f"--flex-volume-plugin-dir={layout.folder / 'volume-plugins'}",
            "--horizontal-pod-autoscaler-sync-period=2s",
            "--horizontal-pod-autoscaler-downscale-stabilization=10s",
        ],
        layout.folder,
        lambda: healthy(f"https://127.0.0.1:{port}/healthz", made.ca),
    )


def scheduler(layout: Layout) -> Server:
    """Return the scheduler; it retries an unschedulable pod within two seconds."""
    port = layout.ports.scheduler
    config = layout.folder / "scheduler.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "kubescheduler.config.k8s.io/v1",
                "kind": "KubeSchedulerConfiguration",
                "clientConnection": {
                    "kubeconfig": str(layout.kubeconfig("system:kube-scheduler")),
                    "qps": 200,
                    "burst": 400,
                },
                "leaderElection": {"leaderElect": False},
                "podInitialBackoffSeconds": 1,
                "podMaxBackoffSeconds": 2,
            }
        ),
        encoding="utf-8",
    )
    return Server(
        "kube-scheduler",
        [
            str(layout.programs.path("kube-scheduler")),
            f"--config={config}",
            "--authentication-skip-lookup=true",
            *_served(layout, port),
        ],
        layout.folder,
        lambda: healthy(f"https://127.0.0.1:{port}/healthz", layout.certificates.ca),
    )


def kwok(layout: Layout) -> Server:
    """Return what plays the kubelets of annotated nodes, by the stages beside this file."""
    server = f"127.0.0.1:{layout.ports.kwok}"
    return Server(
        "kwok",
        [
            str(layout.programs.path("kwok")),
            f"--kubeconfig={layout.kubeconfig('kwok')}",
            f"--config={Path(__file__).parent / 'stages.yaml'}",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            f"--cidr={POD_ADDRESSES}",
            "--node-ip=10.0.0.1",
            "--node-lease-duration-seconds=40",
            f"--server-address={server}",
        ],
        layout.folder,
        lambda: healthy(f"http://{server}/healthz"),
        {"HOME": str(layout.folder)},  # it reads a configuration from there
    )


def _served(layout: Layout, port: int) -> list[str]:
    made = layout.certificates
    return [
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={made.serving}",
        f"--tls-private-key-file={made.serving_key}",
    ]


def _audit_policy() -> dict[str, object]:
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "users": list(_QUIET_USERS)},
            {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
            {"level": "Metadata"},
        ],
    }
