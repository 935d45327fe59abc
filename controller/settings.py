"""Settings of the operator: environment variables ``STEELYARD_...``, read and checked once.

Each has its default, unit and meaning here and nowhere else; ``python -m controller --settings``
prints them as a table.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

PREFIX: Final = "STEELYARD_"

_LONGEST_FOUND: Final = 60

#: Settings whose value is not repeated in an error: an address may carry a password.
_PRIVATE: Final = frozenset({"prometheus_url"})


class InvalidSettings(ValueError):  # noqa: N818 - named after what it is, as users read it
    """The environment cannot be used; ``lines`` has one line per wrong variable, with the fix."""

    def __init__(self, *lines: str) -> None:
        self.lines = lines
        super().__init__("\n".join(lines))


def _field(meaning: str, write: str, unit: str = "") -> Any:
    """Describe a setting: what it means, what to write, and its unit."""
    return Field(description=meaning, json_schema_extra={"write": write, "unit": unit})


Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
File = Path | None
_SECONDS: Final = "a number of seconds above 0"
_FILE: Final = "the path of a file that the operator can read"
_PORT: Final = "a port from 1 to 65535, or 0 to switch it off"


class Settings(BaseModel):
    """Everything that is configured about one operator."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    # What is watched, and how often.
    namespaces: Annotated[
        tuple[Name, ...],
        _field("Namespaces that are watched; empty: all.", "names with commas between them"),
    ] = ()
    tick_seconds: Annotated[
        Seconds, _field("Time between two cycles.", _SECONDS, unit="seconds")
    ] = 15.0
    cycle_deadline_seconds: Annotated[
        Seconds,
        _field("A cycle is cut off after this; the next one is its retry.", _SECONDS, "seconds"),
    ] = 15.0
    forecast_spread_seconds: Annotated[
        Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)],
        _field(
            "After a start the objects' forecasts are fitted one after another over this time.",
            "a number of seconds, 0 or more",
            "seconds",
        ),
    ] = 900.0
    price_table_file: Annotated[
        File, _field("Price table (YAML); absent: the built-in reference prices.", _FILE)
    ] = None
    metrics_profiles_file: Annotated[
        File, _field("Metrics profiles of further engines (YAML); absent: none.", _FILE)
    ] = None

    # The Kubernetes API.
    kubernetes_qps: Annotated[
        Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)],
        _field("Requests a second to the API server, at most.", "a number above 0", "1/s"),
    ] = 50.0
    kubernetes_concurrency: Annotated[
        Annotated[int, Field(ge=1, le=256)],
        _field("Requests to the API server at once, at most.", "an integer from 1 to 256"),
    ] = 16
    kubernetes_timeout_seconds: Annotated[
        Seconds, _field("One request to the API server ends after this.", _SECONDS, "seconds")
    ] = 5.0
    lease_namespace: Annotated[
        Name, _field("Namespace of the Lease: the operator's own.", "a namespace's name")
    ] = "steelyard-system"
    lease_name: Annotated[
        Name, _field("The Lease whose holder decides.", "the name of a Lease")
    ] = "steelyard-controller"
    lease_duration_seconds: Annotated[
        Annotated[int, Field(ge=3, le=300)],
        _field(
            "A Lease not renewed for this long is taken.", "an integer from 3 to 300", "seconds"
        ),
    ] = 10
    lease_renew_seconds: Annotated[
        Seconds,
        _field("Time between two renewals; below a third of the above.", _SECONDS, "seconds"),
    ] = 2.0
    identity: Annotated[
        str,
        _field(
            "Who this operator is: the pod's name. Absent: the host's name.",
            "the name of the operator's pod",
        ),
    ] = ""

    # Prometheus.
    prometheus_url: Annotated[
        str,
        Field(pattern=r"^https?://[^\s]+$"),
        _field(
            "Address of Prometheus or of what speaks its API. Needed.",
            "an address such as http://prometheus.monitoring:9090",
        ),
    ]
    prometheus_timeout_seconds: Annotated[
        Seconds, _field("One query ends after this, whatever happens.", _SECONDS, "seconds")
    ] = 5.0
    prometheus_max_bytes: Annotated[
        Annotated[int, Field(ge=1024)],
        _field("A longer answer is refused.", "an integer of at least 1024", "bytes"),
    ] = 67_108_864
    prometheus_bearer_token_file: Annotated[
        File, _field("Bearer token; read again whenever it changes.", _FILE)
    ] = None
    prometheus_username: Annotated[str, _field("User of basic authentication.", "a user name")] = ""
    prometheus_password_file: Annotated[
        File, _field("Password of basic authentication.", _FILE)
    ] = None
    prometheus_ca_file: Annotated[
        File, _field("Authority that Prometheus' certificate is checked against (PEM).", _FILE)
    ] = None
    prometheus_certificate_file: Annotated[
        File, _field("Certificate that the operator shows (PEM).", _FILE)
    ] = None
    prometheus_key_file: Annotated[File, _field("Key of that certificate (PEM).", _FILE)] = None
    prometheus_tenant: Annotated[
        str, _field("Tenant, sent in the header below; empty: none.", "the tenant's name")
    ] = ""
    prometheus_tenant_header: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9-]+$"),
        _field("Header that names the tenant.", "the name of a header"),
    ] = "X-Scope-OrgID"
    prometheus_recording_rules: Annotated[
        bool,
        _field("The recording rules of manifests/monitoring are installed there.", "true or false"),
    ] = False
    prometheus_scrape_seconds: Annotated[
        Seconds,
        _field(
            "Time between two scrapes of the engines; samples four times as old are stale.",
            _SECONDS,
            "seconds",
        ),
    ] = 15.0
    prometheus_history_seconds: Annotated[
        Annotated[float, Field(ge=0, le=31_536_000, allow_inf_nan=False)],
        _field(
            "Past traffic that a new object's forecast starts from; 0: none.",
            "a number of seconds, 0 or more",
            "seconds",
        ),
    ] = 1_209_600.0

    # What the operator tells about itself. Not "metrics_port": a Service named steelyard-metrics
    # puts STEELYARD_METRICS_PORT into every pod beside it.
    listen_address: Annotated[
        str,
        _field(
            "Address that health and metrics listen on; 127.0.0.1 where only this host may ask.",
            "an IP address",
        ),
    ] = "0.0.0.0"  # noqa: S104 - kubelet's probes and Prometheus come from outside the pod
    health_listen_port: Annotated[
        Port, _field("Port of /healthz, /readyz and /explain.", _PORT)
    ] = 8081
    metrics_listen_port: Annotated[Port, _field("Port of /metrics.", _PORT)] = 8080
    log_format: Annotated[
        Literal["json", "text"], _field("One JSON object a line, or plain lines.", "json or text")
    ] = "json"
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        _field("Least severity that is logged.", "DEBUG, INFO, WARNING or ERROR"),
    ] = "INFO"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """Check what concerns several of them; a message begins with the variable to change."""
        if self.lease_renew_seconds * 3 > self.lease_duration_seconds:
            raise ValueError(
                f"{PREFIX}LEASE_RENEW_SECONDS: found {self.lease_renew_seconds:g}; write at most a "
                f"third of {PREFIX}LEASE_DURATION_SECONDS ({self.lease_duration_seconds})"
            )
        if bool(self.prometheus_username) != bool(self.prometheus_password_file):
            raise ValueError(
                f"{PREFIX}PROMETHEUS_USERNAME: give it together with "
                f"{PREFIX}PROMETHEUS_PASSWORD_FILE, or neither"
            )
        if bool(self.prometheus_certificate_file) != bool(self.prometheus_key_file):
            raise ValueError(
                f"{PREFIX}PROMETHEUS_CERTIFICATE_FILE: give it together with "
                f"{PREFIX}PROMETHEUS_KEY_FILE, or neither"
            )
        if self.prometheus_bearer_token_file and self.prometheus_username:
            raise ValueError(
                f"{PREFIX}PROMETHEUS_BEARER_TOKEN_FILE: give it or "
                f"{PREFIX}PROMETHEUS_USERNAME, not both"
            )
        if urlsplit(self.prometheus_url).username is not None:
            raise ValueError(
                f"{PREFIX}PROMETHEUS_URL: holds a user; write it without, and give "
                f"{PREFIX}PROMETHEUS_USERNAME and {PREFIX}PROMETHEUS_PASSWORD_FILE"
            )
        return self


def load(environment: Mapping[str, str]) -> Settings:
    """Read the settings out of environment variables.

    Raises:
        InvalidSettings: one line per variable that cannot be used: what was found, what to write.
    """
    given = {
        name[len(PREFIX) :].lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX) and name[len(PREFIX) :].lower() in Settings.model_fields
    }
    misspelt = _misspelt(environment)
    # An empty variable is one that a template left out.
    values: dict[str, Any] = {name: value for name, value in given.items() if value.strip()}
    if "namespaces" in values:
        values["namespaces"] = tuple(
            part.strip() for part in values["namespaces"].split(",") if part.strip()
        )
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise InvalidSettings(*misspelt, *_lines(error)) from error
    wrong = [*misspelt, *_unreadable_files(settings)]
    if wrong:
        raise InvalidSettings(*wrong)
    return settings


def table() -> list[tuple[str, str, str, str]]:
    """Variable, default, unit and meaning of every setting."""
    return [
        (
            variable(name),
            _default(field),
            str(_extra(field, "unit")),
            field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"


def _misspelt(environment: Mapping[str, str]) -> list[str]:
    """Tell variables that are nearly a setting's; others may be a Service's or a tool's."""
    known = [variable(name) for name in Settings.model_fields]
    lines = []
    for name in sorted(environment.keys() - set(known)):
        close = get_close_matches(name, known, n=1, cutoff=0.9) if name.startswith(PREFIX) else []
        if close:
            lines.append(f"{name}: unknown; did you mean {close[0]}?")
    return lines


def _lines(error: ValidationError) -> list[str]:
    lines = []
    for entry in error.errors():
        if not entry["loc"]:
            lines.append(str(entry.get("ctx", {}).get("error", entry["msg"])))
            continue
        name = str(entry["loc"][0])
        write = _extra(Settings.model_fields[name], "write")
        if entry["type"] == "missing":
            lines.append(f"{variable(name)}: missing; write {write}")
            continue
        found = "what is there" if name in _PRIVATE else f'"{str(entry["input"])[:_LONGEST_FOUND]}"'
        lines.append(f"{variable(name)}: found {found}; write {write}")
    return lines


def _unreadable_files(settings: Settings) -> list[str]:
    lines = []
    for name in Settings.model_fields:
        path = getattr(settings, name)
        if not isinstance(path, Path):
            continue
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            lines.append(f'{variable(name)}: found "{path}" ({error.strerror}); write {_FILE}')
    return lines


def _extra(field: FieldInfo, key: str) -> object:
    extra = field.json_schema_extra
    return extra.get(key, "") if isinstance(extra, dict) else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "(needed)"
    value = field.default
    if value is None or value in ("", ()):
        return ""
    return f"{value:g}" if isinstance(value, float) and value < 1e6 else str(value)
