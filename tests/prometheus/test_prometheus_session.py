"""How Prometheus is asked: credentials read anew, queries in the body, nothing forwarded."""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import trustme

from controller.adapters.prometheus.session import Answer, PrometheusClient, QueryFailed
from controller.adapters.prometheus.settings import PrometheusSettings

ORIGIN = 1_743_465_600.0
EMPTY = b'{"status":"success","data":{"resultType":"vector","result":[]}}'

Ask = Callable[..., Answer]


@pytest.fixture
def ask(server: Any, settings: PrometheusSettings) -> Iterator[Ask]:
    """Ask one query with some settings; the same settings keep their client."""
    clients: dict[PrometheusSettings, PrometheusClient] = {}
    answer(server, EMPTY)

    def go(expression: str = "up", **changes: Any) -> Answer:
        chosen = replace(settings, **{"url": server.url, **changes})
        client = clients.setdefault(chosen, PrometheusClient(chosen))
        (given,) = asyncio.run(client.query([expression], ORIGIN))
        return given

    yield go
    for client in clients.values():
        client.close()


def answer(server: Any, body: bytes, status: int = 200, **headers: str) -> None:
    """Let the server answer this."""

    def write(handler: Any, asked: bytes) -> None:
        del asked
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    server.answer = write


def test_the_query_is_in_the_body_at_one_time(server: Any, ask: Ask) -> None:
    """A long query fits into no address; the time is to the millisecond."""
    assert ask("x" * 100_000) == []
    ((path, _, body),) = server.requests
    assert path == "/api/v1/query"
    assert parse_qs(body.decode()) == {"query": ["x" * 100_000], "time": ["1743465600.000"]}


def test_a_path_of_the_address_is_kept(server: Any, ask: Ask) -> None:
    """Stores that speak Prometheus' API often do so below a path."""
    assert ask(url=f"{server.url}/prometheus/") == []
    assert server.requests[0][0] == "/prometheus/api/v1/query"


def test_a_token_is_read_again_on_each_request(server: Any, ask: Ask, tmp_path: Path) -> None:
    """Projected tokens are replaced every hour."""
    token = tmp_path / "token"
    for text in ("first\n", "second\n"):
        token.write_text(text)
        ask(bearer_token_file=token)
    sent = [headers["Authorization"] for _, headers, _ in server.requests]
    assert sent == ["Bearer first", "Bearer second"]


def test_a_user_and_password_and_a_tenant(server: Any, ask: Ask, tmp_path: Path) -> None:
    """Basic authentication as RFC 7617 has it, and the header that names the tenant."""
    (tmp_path / "password").write_text("geheim\n")
    ask(username="otto", password_file=tmp_path / "password", tenant="team-a")
    headers = server.requests[0][1]
    assert headers["Authorization"] == "Basic b3R0bzpnZWhlaW0="
    assert headers["X-Scope-OrgID"] == "team-a"


def test_a_file_that_is_gone_is_a_failed_query(server: Any, ask: Ask, tmp_path: Path) -> None:
    """Without its token nothing is asked, rather than asked without."""
    given = ask(bearer_token_file=tmp_path / "gone")
    assert isinstance(given, QueryFailed)
    assert not server.requests


def test_credentials_of_the_surroundings_are_not_sent(
    server: Any, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither ~/.netrc nor a proxy's variable decides who is told what."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert ask() == []
    assert "Authorization" not in server.requests[0][1]


def test_a_redirect_is_not_followed(server: Any, ask: Ask, tmp_path: Path) -> None:
    """Credentials go nowhere but to the address that was configured."""
    (tmp_path / "token").write_text("secret")
    answer(server, b"", 307, Location=f"{server.url}/elsewhere")
    given = ask(bearer_token_file=tmp_path / "token")
    assert isinstance(given, QueryFailed)
    assert "status 307" in str(given)
    assert len(server.requests) == 1


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """An authority, and certificates of it for the server and a client, in one folder."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("server", "client"):
        issued = authority.issue_cert("127.0.0.1", common_name=name)
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
    return tmp_path


def test_own_authority_and_a_certificate_of_ours(server: Any, ask: Ask, certificates: Path) -> None:
    """Https is checked against the given authority only; mutual where a certificate is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.load_verify_locations(certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = server.url.replace("http:", "https:")
    known = {"url": url, "ca_file": certificates / "ca.pem"}
    mutual = {
        "certificate_file": certificates / "client.pem",
        "key_file": certificates / "client.key",
    }
    assert ask(**known, **mutual) == []
    assert isinstance(ask(**known), QueryFailed)
    assert isinstance(ask(url=url, **mutual), QueryFailed)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"url": "prometheus:9090"}, "url"),
        ({"url": "ftp://prometheus"}, "url"),
        ({"url": "http://otto:geheim@prometheus"}, "username"),
        ({"url": "http://prometheus/?a=b"}, "url"),
        ({"timeout_seconds": 0.0}, "timeout_seconds"),
        ({"cycle_seconds": float("nan")}, "cycle_seconds"),
        ({"lengths_seconds": -1.0}, "lengths_seconds"),
        ({"max_bytes": 10}, "max_bytes"),
        ({"username": "otto"}, "password_file"),
        ({"certificate_file": Path("a")}, "key_file"),
        ({"tenant_header": "X Scope"}, "tenant_header"),
        ({"tenant": "a\r\nb: c"}, "tenant"),
        (
            {"bearer_token_file": Path("a"), "username": "b", "password_file": Path("c")},
            "bearer_token_file",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(
    settings: PrometheusSettings, changes: dict[str, Any], named: str
) -> None:
    """With the field's name; a password out of an address is not repeated."""
    with pytest.raises(ValueError, match=named) as refused:
        replace(settings, **changes)
    assert "geheim" not in str(refused.value)
