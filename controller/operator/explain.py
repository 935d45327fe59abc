"""``kubectl steelyard explain NAME``: why a ModelDeployment has the replicas it has.

The operator's own account is asked for through the API server's proxy to the Lease holder's pod;
where that cannot be had, the object's status tells the short form.
"""

import json
from typing import Annotated, Any, Final

import typer
import urllib3
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import kubernetes
from controller.api.status import read_status
from controller.api.v1alpha1 import GROUP, VERSION
from controller.operator.explanation import Document, explained_by_status
from controller.operator.handlers import PLURAL

app = typer.Typer(
    help="Look into steelyard's decisions.", no_args_is_help=True, pretty_exceptions_enable=False
)

_TIMEOUT_SECONDS: Final = 10.0


class NotExplained(Exception):  # noqa: N818 - named after what happened, as users read it
    """There is nothing to show; the message says why and what to do."""


@app.callback()
def plugin() -> None:
    """Look into steelyard's decisions."""


@app.command()
def explain(
    name: Annotated[str, typer.Argument(help="Name of the ModelDeployment.")],
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Its namespace; default: the context's.")
    ] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
    lease: Annotated[
        str, typer.Option(help="The operator's Lease, as NAMESPACE/NAME.")
    ] = "steelyard-system/steelyard-controller",
    health_port: Annotated[
        int, typer.Option(help="Port of the operator's health endpoint.")
    ] = 8081,
    endpoint: Annotated[
        str | None,
        typer.Option(
            envvar="STEELYARD_EXPLAIN_ENDPOINT",
            help="Address of the operator's health endpoint, asked without a proxy: for an "
            "operator that runs outside the cluster.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the document.")] = False,  # noqa: FBT002 - an option of a command line
) -> None:
    """Show inputs, forecast, decision, what was rejected, and the prices it was decided at."""
    console = Console()
    try:
        client = _client(context)
        space = namespace or _namespace_of(context)
        body = _object(client, space, name)
        asked = Asked(client, lease, health_port, endpoint)
        document, reason = asked.account(space, name)
    except NotExplained as error:
        Console(stderr=True).print(f"error: {error}", markup=False)
        raise typer.Exit(1) from error
    if document is None:
        document = explained_by_status(space, name, body.get("spec") or {}, read_status(body))
        document["note"] = reason
    if as_json:
        console.print_json(json.dumps(document))
    else:
        render(document, console)


class Asked:
    """Where the operator's own account is asked for."""

    def __init__(self, client: Any, lease: str, port: int, endpoint: str | None) -> None:
        self._client = client
        self._namespace, _, self._lease = lease.partition("/")
        self._port, self._endpoint = port, endpoint

    def account(self, namespace: str, name: str) -> tuple[Document | None, str]:
        """The operator's account, or None and why there is none."""
        path = f"explain/{namespace}/{name}"
        try:
            text = self._direct(path) if self._endpoint else self._proxied(path)
            document = json.loads(text)
        except kubernetes.client.ApiException as error:
            told = f"the operator was not reached: {error.status} {error.reason}"
            outside = "; one that runs outside the cluster is asked with --endpoint"
            return None, told + (outside if error.status == 404 else "")
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            return None, f"the operator was not reached: {error}"
        if not isinstance(document, dict) or "error" in document:
            return None, str(document.get("error") if isinstance(document, dict) else document)
        return document, ""

    def _direct(self, path: str) -> bytes:
        pool = urllib3.PoolManager(retries=False, timeout=_TIMEOUT_SECONDS)
        return bytes(pool.request("GET", f"{str(self._endpoint).rstrip('/')}/{path}").data)

    def _proxied(self, path: str) -> bytes:
        leases = kubernetes.client.CoordinationV1Api(self._client)
        lease = leases.read_namespaced_lease(
            self._lease, self._namespace, _request_timeout=_TIMEOUT_SECONDS
        )
        holder = (lease.spec.holder_identity or "") if lease.spec else ""
        if not holder:
            raise ValueError(f"nobody holds the Lease {self._namespace}/{self._lease}")
        pods = kubernetes.client.CoreV1Api(self._client)
        # The identity is the pod's name and what tells its processes apart. The answer is read
        # raw: the client would turn JSON into the text of a Python dictionary.
        answer: Any = pods.connect_get_namespaced_pod_proxy_with_path(
            f"{holder.rsplit('_', 1)[0]}:{self._port}",
            self._namespace,
            path,
            _preload_content=False,
            _request_timeout=_TIMEOUT_SECONDS,
        )
        return bytes(answer.data)


def _client(context: str | None) -> Any:
    try:
        return kubernetes.config.new_client_from_config(context=context)  # type: ignore[no-untyped-call]  # the client's own gap
    except kubernetes.config.ConfigException as error:
        raise NotExplained(f"no kubeconfig can be used: {error}") from error


def _namespace_of(context: str | None) -> str:
    contexts, current = kubernetes.config.list_kube_config_contexts()  # type: ignore[no-untyped-call]  # the client's own gap
    chosen = next((one for one in contexts if one["name"] == context), current)
    return str(chosen["context"].get("namespace") or "default")


def _object(client: Any, namespace: str, name: str) -> Document:
    objects = kubernetes.client.CustomObjectsApi(client)
    try:
        body: Any = objects.get_namespaced_custom_object(
            GROUP, VERSION, namespace, PLURAL, name, _request_timeout=_TIMEOUT_SECONDS
        )
    except kubernetes.client.ApiException as error:
        if error.status == 404:
            raise NotExplained(
                f"no ModelDeployment {name} in namespace {namespace}; "
                "`kubectl get md -A` shows which there are"
            ) from error
        raise NotExplained(f"the API server answered {error.status} {error.reason}") from error
    except urllib3.exceptions.HTTPError as error:
        raise NotExplained(f"the API server was not reached: {error}") from error
    return dict(body)


def render(document: Document, console: Console) -> None:
    """Print a document of ``explanation``."""
    console.print(
        f"[bold]{escape(document['namespace'])}/{escape(document['name'])}[/bold]  "
        f"mode {document['mode']}"
        + (
            f", paused: {document['paused']}"
            if document.get("paused") not in (None, "none")
            else ""
        )
        + (f", decided at {document['at']}" if document.get("at") else "")
    )
    if document.get("note"):
        console.print(f"From the status alone: {document['note']}", markup=False)
    if document.get("problem"):
        console.print(f"Problem: {document['problem']}", markup=False, style="red")
    if document.get("finding"):
        console.print(f"Metrics: {document['finding']}", markup=False, style="yellow")
    _render_inputs(document.get("inputs"), console)
    _render_variants(document["variants"], console)
    _render_forecast(document.get("forecast"), console)
    _render_standing(document.get("standing"), document.get("slo"), console)
    _render_decision(document, console)
    _render_rejected(document, console)


def _render_inputs(inputs: Document | None, console: Console) -> None:
    if inputs is None:
        return
    console.print("\n[bold]Inputs[/bold]")
    arrivals, outcomes = inputs["arrivals"], inputs["outcomes"]
    if "missing" in arrivals:
        console.print(f"  arrivals: missing ({arrivals['missing']}); nothing is released")
    else:
        console.print(
            f"  arrivals: {_of(arrivals['requestsPerSecond'])} requests/s, "
            f"{_of(arrivals['promptTokensMean'])} prompt and "
            f"{_of(arrivals['outputTokensMean'])} output tokens each, "
            f"{_of(arrivals['ageSeconds'])} s old"
        )
    if "missing" in outcomes:
        console.print(f"  latencies: missing ({outcomes['missing']})")
    else:
        console.print(
            f"  ended: {_of(outcomes['ended'])} requests; late first token "
            f"{_of(outcomes['badTtft'])}, slow tokens {_of(outcomes['badTpot'])}, failed "
            f"{_of(outcomes['failed'])}, by a fallback {_of(outcomes['degraded'])}"
        )


def _render_variants(variants: list[Document], console: Console) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    columns = (
        ("variant", "name"),
        ("role", "role"),
        ("decided", "decided"),
        ("target", "desired"),
        ("ready", "ready"),
        ("starting", "starting"),
        ("no GPU", "unschedulable"),
        ("runs", "running"),
        ("waits", "waiting"),
        ("cold s", "coldStartSeconds"),
        ("req/s", "capacityRequestsPerSecond"),
    )
    for title, _ in columns:
        table.add_column(
            title, justify="left" if title in ("variant", "role") else "right", no_wrap=True
        )
    for variant in variants:
        table.add_row(*(_cell(variant.get(key)) for _, key in columns))
    console.print("\n[bold]Variants[/bold]")
    console.print(table)


def _render_forecast(forecast: Document | None, console: Console) -> None:
    console.print("\n[bold]Forecast[/bold]")
    if forecast is None:
        console.print("  none: nothing was seen yet")
        return
    trust = {True: ", trusted", False: ", not trusted yet"}.get(forecast.get("trusted"), "")  # type: ignore[arg-type]  # None: not told
    console.print(
        f"  {escape(forecast['source'])}{trust}: {_of(forecast['requestsPerSecond'])} requests/s "
        f"in {_of(forecast['horizonSeconds'])} s, at most "
        f"{_of(forecast['highRequestsPerSecond'])}"
    )
    coverage = forecast.get("coverage")
    told = f"  error (WAPE) {_of(forecast.get('error'))}"
    if coverage:
        told += f", below its {_of(coverage[0])} quantile {_of(coverage[1])} of the time"
    if forecast.get("changedDecision") is not None:
        told += (
            "; it changed the decision"
            if forecast["changedDecision"]
            else "; persistence would have decided the same"
        )
    console.print(told)


def _render_standing(standing: Document | None, slo: Document | None, console: Console) -> None:
    if standing is None:
        return
    console.print("\n[bold]Standing[/bold]")
    attainment = standing["attainment"]
    asked = f" ({slo['target']:g} asked)" if slo else ""
    between = (
        "not measured" if attainment is None else f"{_of(attainment[0])} to {_of(attainment[1])}"
    )
    console.print(f"  good requests{asked}: {between}")
    console.print(
        f"  left of the error budget: {_of(standing['errorsLeft'])}, "
        f"of the quality budget: {_of(standing['qualityLeft'])}"
    )


def _render_decision(document: Document, console: Console) -> None:
    decision = document.get("decision")
    console.print("\n[bold]Decision[/bold]")
    if decision is None:
        console.print("  none yet")
        return
    allocation = ", ".join(f"{one['name']} {one['decided']}" for one in document["variants"])
    console.print(f"  {escape(allocation)} at {_of(decision['costPerHour'])} an hour")
    console.print(f"  binding: {decision['binding']}")
    console.print(
        f"  price of a missed request {_of(decision['missPrice'])}, "
        f"of a degraded one {_of(decision['degradedPrice'])}"
    )
    for step in decision["steps"]:
        before = "" if step["before"] is None else f"{_allocation(step['before'])} -> "
        console.print(
            f"  {step['stage']}: {step['reason']} {before}{_allocation(step['after'])}",
            markup=False,
        )


def _render_rejected(document: Document, console: Console) -> None:
    rejected = document["rejected"]
    if not rejected:
        return
    console.print("\n[bold]Rejected[/bold]")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("allocation", "cost/h", "missed/s", "degraded/s", "reason"):
        table.add_column(title, justify="left" if title in ("allocation", "reason") else "right")
    for one in rejected:
        table.add_row(
            _allocation(one["allocation"]),
            _of(one["costPerHour"]),
            _of(one["missedPerSecond"]),
            _of(one["degradedPerSecond"]),
            one["reason"],
        )
    console.print(table)


def _allocation(replicas: list[int]) -> str:
    return "+".join(str(count) for count in replicas)


def _cell(value: Any) -> str:
    """The same where there is little room: the inputs above say why something is missing."""
    return "missing" if isinstance(value, dict) else escape(_of(value))


def _of(value: Any) -> str:
    """A number in few digits, a dash for what is not known."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
