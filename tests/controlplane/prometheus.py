"""A real Prometheus: started on a configuration, stopped and started again on the same data."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml

from controlplane.processes import Server, free_ports, healthy
from controlplane.programs import Programs
from controlplane.waiting import until


class PromtoolFailed(RuntimeError):  # noqa: N818 - named after what happened
    """promtool said no; the text is what it said."""


@dataclass
class Prometheus:
    """One server on the loopback with a folder of its own."""

    server: Server
    folder: Path
    url: str
    programs: Programs

    @classmethod
    def start(
        cls,
        programs: Programs,
        folder: Path,
        config: Mapping[str, Any] | None = None,
        *,
        rules: Mapping[str, Any] | None = None,
        blocks: str = "",
        arguments: tuple[str, ...] = (),
    ) -> "Prometheus":
        """Start it and wait until it answers.

        Args:
            programs: where the program is.
            folder: for configuration, data and log.
            config: its configuration; without one it scrapes nothing.
            rules: a rule file's contents, loaded as well.
            blocks: samples to begin with, as OpenMetrics text with timestamps.
            arguments: flags beside ours, such as ``--web.config.file=...``.

        Raises:
            ServerFailed: with its log.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (port,) = free_ports(1)
        url = f"http://127.0.0.1:{port}"
        command = [
            str(programs.path("prometheus")),
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--storage.tsdb.retention.time=100y",  # blocks of a replayed past are to stay
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-lifecycle",
            "--web.enable-admin-api",
            "--log.level=warn",
            *arguments,
        ]
        server = Server("prometheus", command, folder, lambda: healthy(f"{url}/-/ready"))
        made = cls(server, folder, url, programs)
        made.configure(config or {}, rules)
        if blocks:
            made.write_blocks(blocks)
        made.restart()
        return made

    def restart(self) -> None:
        """Start it, or start it again on the same address, configuration and data."""
        self.stop()
        self.server.start()
        self.server.wait_healthy()

    def stop(self) -> None:
        """End it; queries are refused until ``restart``."""
        self.server.stop()

    def reload(
        self, config: Mapping[str, Any] | None, rules: Mapping[str, Any] | None = None
    ) -> None:
        """Run on with another configuration."""
        self.configure(config or {}, rules)
        _session().post(f"{self.url}/-/reload", timeout=30).raise_for_status()

    def query(self, expression: str, at_seconds: float | None = None) -> list[dict[str, Any]]:
        """Return the result of an instant query: a list of metric and value.

        Raises:
            ValueError: with Prometheus' own message.
        """
        asked = {"query": expression} | ({} if at_seconds is None else {"time": str(at_seconds)})
        answer = _session().post(f"{self.url}/api/v1/query", data=asked, timeout=30).json()
        if answer["status"] != "success":
            raise ValueError(answer["error"])
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def values(self, expression: str, at_seconds: float | None = None) -> list[float]:
        """Return only the values of an instant query."""
        return [float(each["value"][1]) for each in self.query(expression, at_seconds)]

    def targets(self) -> list[dict[str, Any]]:
        """Return the active targets with their labels, health and last error."""
        answer = _session().get(f"{self.url}/api/v1/targets?state=active", timeout=30).json()
        found: list[dict[str, Any]] = answer["data"]["activeTargets"]
        return found

    def wait_up(self, count: int = 1) -> None:
        """Wait until so many targets were scraped successfully."""
        until(
            lambda: sum(each["health"] == "up" for each in self.targets()) >= count,
            f"{count} targets of Prometheus to be up",
            detail=self.targets,
        )

    def write_blocks(self, openmetrics: str) -> None:
        """Write samples into the data; a running server sees them after ``restart``.

        Raises:
            PromtoolFailed: with what is wrong in the text.
        """
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        samples = self.folder / "samples.txt"
        samples.write_text(openmetrics, encoding="utf-8")
        command = ("tsdb", "create-blocks-from", "openmetrics", "--quiet")
        promtool(self.programs, *command, str(samples), str(data))
        samples.unlink()

    def configure(self, config: Mapping[str, Any], rules: Mapping[str, Any] | None = None) -> None:
        """Write the configuration that the next start reads."""
        document = dict(config)
        if rules is not None:
            (self.folder / "rules.yaml").write_text(yaml.safe_dump(dict(rules)), encoding="utf-8")
            document["rule_files"] = [*document.get("rule_files", ()), "rules.yaml"]
        text = yaml.safe_dump(document)
        (self.folder / "prometheus.yaml").write_text(text, encoding="utf-8")


def promtool(programs: Programs, *arguments: str) -> str:
    """Run promtool, such as ``promtool(programs, "test", "rules", file)``; return what it said.

    Raises:
        PromtoolFailed: with what it said.
    """
    done = subprocess.run(
        [str(programs.path("promtool")), *arguments],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise PromtoolFailed((done.stdout + done.stderr).strip())
    return done.stdout


def _session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # the loopback is never reached through a proxy
    return session
