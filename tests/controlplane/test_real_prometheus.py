"""The Prometheus of the tests scrapes, keeps its data, and reads blocks made with promtool."""

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
import yaml

from controlplane.programs import Programs
from controlplane.prometheus import Prometheus, PromtoolFailed, promtool
from controlplane.waiting import until

pytestmark = pytest.mark.cluster

StartPrometheus = Callable[..., Prometheus]


class _Metrics(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"# TYPE requests counter\nrequests_total 42\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def target() -> Iterator[str]:
    """The address of a server with metrics."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Metrics) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def scraping(target: str) -> dict[str, Any]:
    """Return a configuration that scrapes one target each second."""
    job = {"job_name": "engine", "static_configs": [{"targets": [target]}]}
    return {"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}


def test_scrapes_and_keeps_data_over_a_restart(
    start_prometheus: StartPrometheus, target: str
) -> None:
    """What was scraped is there after a restart that scrapes nothing new."""
    prometheus = start_prometheus(scraping(target))
    prometheus.wait_up()
    until(lambda: prometheus.values("requests_total") == [42.0], "the sample to be readable")
    prometheus.stop()
    prometheus.configure({})
    prometheus.restart()
    assert prometheus.values("last_over_time(requests_total[10m])") == [42.0]
    assert not prometheus.targets()


def test_blocks_written_with_promtool_are_readable(start_prometheus: StartPrometheus) -> None:
    """Samples given as OpenMetrics text are answered at their own times, before and after start."""
    first = "# TYPE queue gauge\nqueue 3 1700000000\nqueue 5 1700000060\n# EOF\n"
    prometheus = start_prometheus(blocks=first)
    assert prometheus.values("queue", 1700000030) == [3.0]
    assert prometheus.values("queue", 1700000060) == [5.0]
    prometheus.write_blocks("# TYPE queue gauge\nqueue 7 1700009000\n# EOF\n")
    prometheus.restart()
    assert prometheus.values("queue", 1700009000) == [7.0]
    assert prometheus.values("queue", 1700000060) == [5.0]


def test_broken_samples_are_refused(start_prometheus: StartPrometheus) -> None:
    """Text that is no OpenMetrics is an error that says what is wrong."""
    prometheus = start_prometheus()
    with pytest.raises(PromtoolFailed, match="EOF"):
        prometheus.write_blocks("queue 3 1700000000\n")


def test_a_wrong_query_is_an_error(start_prometheus: StartPrometheus) -> None:
    """A query that cannot be parsed is an error with Prometheus' message, never an empty result."""
    with pytest.raises(ValueError, match="parse error"):
        start_prometheus().query("rate(")


def test_rules_are_unit_tested(control_plane_programs: Programs, tmp_path: Any) -> None:
    """Promtool's rule tests pass for a right expectation and fail for a wrong one."""
    rules = {"groups": [{"name": "g", "rules": [{"record": "twice", "expr": "one * 2"}]}]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules), encoding="utf-8")

    def expecting(value: int) -> str:
        sample = {"labels": "twice", "value": value}
        question = {"expr": "twice", "eval_time": "1m", "exp_samples": [sample]}
        series = [{"series": "one", "values": "3 3"}]
        case = {"interval": "1m", "input_series": series, "promql_expr_test": [question]}
        path = tmp_path / f"expects-{value}.yaml"
        path.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": [case]}))
        return str(path)

    promtool(control_plane_programs, "test", "rules", expecting(6))
    with pytest.raises(PromtoolFailed, match="twice"):
        promtool(control_plane_programs, "test", "rules", expecting(7))
