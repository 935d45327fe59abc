"""The certificates and keys of one control plane, made for it and gone with it."""

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificates:
    """Files that the servers are pointed at, all PEM."""

    ca: Path
    """Signs what the servers show; kubeconfigs trust it."""
    serving: Path
    serving_key: Path
    service_accounts_key: Path
    """Signs the tokens of ServiceAccounts and verifies them."""
    front_proxy_ca: Path
    front_proxy: Path
    """What the API server shows to the servers it aggregates."""
    front_proxy_key: Path


def issue(folder: Path) -> Certificates:
    """Make an authority and write everything into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    authority, front_proxy_authority = trustme.CA(), trustme.CA()
    serving = authority.issue_cert("127.0.0.1", "localhost", "kubernetes.default.svc")
    accounts = authority.issue_cert("service-accounts.invalid")
    front_proxy = front_proxy_authority.issue_cert(common_name="front-proxy-client")
    made = Certificates(
        ca=folder / "ca.pem",
        serving=folder / "serving.pem",
        serving_key=folder / "serving-key.pem",
        service_accounts_key=folder / "service-accounts-key.pem",
        front_proxy_ca=folder / "front-proxy-ca.pem",
        front_proxy=folder / "front-proxy.pem",
        front_proxy_key=folder / "front-proxy-key.pem",
    )
    authority.cert_pem.write_to_path(made.ca)
    serving.cert_chain_pems[0].write_to_path(made.serving)
    serving.private_key_pem.write_to_path(made.serving_key)
    accounts.private_key_pem.write_to_path(made.service_accounts_key)
    front_proxy_authority.cert_pem.write_to_path(made.front_proxy_ca)
    front_proxy.cert_chain_pems[0].write_to_path(made.front_proxy)
    front_proxy.private_key_pem.write_to_path(made.front_proxy_key)
    return made
