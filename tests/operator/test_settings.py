"""Settings: out of the environment, checked once, each wrong one told with its fix."""

from pathlib import Path

import pytest

from controller.adapters.prices import InvalidPrices, read_prices
from controller.api.prices import REFERENCE_PRICES
from controller.settings import InvalidSettings, load, table, variable

URL = {"STEELYARD_PROMETHEUS_URL": "http://prometheus.monitoring:9090"}


def test_the_address_of_prometheus_is_all_that_is_needed() -> None:
    """Everything else has a default."""
    settings = load(URL)
    assert settings.tick_seconds == 15.0
    assert settings.namespaces == ()
    with pytest.raises(InvalidSettings, match="STEELYARD_PROMETHEUS_URL: missing; write an addr"):
        load({})


def test_values_are_read_by_their_type() -> None:
    """Numbers, lists, switches and files come out as such; an empty value is none."""
    settings = load(
        {
            **URL,
            "STEELYARD_TICK_SECONDS": "7.5",
            "STEELYARD_NAMESPACES": "serving, batch",
            "STEELYARD_PROMETHEUS_RECORDING_RULES": "true",
            "STEELYARD_PRICE_TABLE_FILE": __file__,
            "STEELYARD_LEASE_NAME": "",
        }
    )
    assert settings.tick_seconds == 7.5
    assert settings.namespaces == ("serving", "batch")
    assert settings.prometheus_recording_rules is True
    assert settings.price_table_file == Path(__file__)
    assert settings.lease_name == "steelyard-controller"


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("TICK_SECONDS", "soon", "write a number of seconds above 0"),
        ("TICK_SECONDS", "nan", "write a number of seconds above 0"),
        ("TICK_SECONDS", "0", "write a number of seconds above 0"),
        ("NAMESPACES", "Serving", "write names with commas"),
        ("HEALTH_LISTEN_PORT", "99999", "write a port from 1 to 65535"),
        ("LOG_FORMAT", "xml", "write json or text"),
        ("PROMETHEUS_URL", "prometheus:9090", "write an address such as http://"),
        ("PROMETHEUS_URL", "http://me:secret@prometheus:9090", "write it without"),
        ("PROMETHEUS_CA_FILE", "/does/not/exist", "write the path of a file"),
        ("PROMETHEUS_USERNAME", "me", "together with STEELYARD_PROMETHEUS_PASSWORD_FILE"),
        ("PROMETHEUS_KEY_FILE", __file__, "together with STEELYARD_PROMETHEUS_KEY_FILE"),
        ("LEASE_RENEW_SECONDS", "9", "write at most a third"),
        ("TICK_SECOND", "15", "did you mean STEELYARD_TICK_SECONDS"),
    ],
)
def test_what_cannot_be_used_is_told_with_the_fix(name: str, value: str, fix: str) -> None:
    """The message names the variable and what to write instead."""
    with pytest.raises(InvalidSettings) as caught:
        load({**URL, f"STEELYARD_{name}": value})
    (line,) = caught.value.lines
    assert line.startswith("STEELYARD_")
    assert fix in line
    assert "secret" not in line


def test_all_wrong_variables_are_told_at_once() -> None:
    """Nobody starts the operator three times to find three mistakes."""
    with pytest.raises(InvalidSettings) as caught:
        load({"STEELYARD_TICK_SECONDS": "x", "STEELYARD_LOG_LEVEL": "y"})
    assert len(caught.value.lines) == 3


def test_variables_of_others_are_left_alone() -> None:
    """A Service or a test tool may have variables that begin the same way."""
    load({**URL, "STEELYARD_METRICS_SERVICE_HOST": "10.0.0.1", "STEELYARD_REQUIRE_CLUSTER": "1"})


def test_every_setting_is_documented() -> None:
    """Each has a meaning, and durations have their unit."""
    rows = table()
    assert variable("prometheus_url") in [row[0] for row in rows]
    assert [row[0] for row in rows if len(row[3]) < 10] == []
    assert [row[0] for row in rows if row[0].endswith("_SECONDS") and row[2] != "seconds"] == []


def test_the_shipped_price_table_is_the_reference() -> None:
    """What the manifests install is what is built in, until somebody edits it."""
    shipped = Path(__file__).parents[2] / "manifests/base/prices.yaml"
    assert read_prices(shipped) == REFERENCE_PRICES


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("accelerators: {h100: {perGpuHour: -1}}", "accelerators.h100.perGpuHour"),
        ("accelerators: {h100: {perHour: 4}}", "accelerators.h100.perHour"),
        ("accelerators: {}", "accelerators"),
        ("currency: EUR", "accelerators"),
        ("[", "no YAML"),
        ("accelerators: {h100: {perGpuHour: 4, idleWatts: 5, busyWatts: 1}}", "idleWatts"),
    ],
)
def test_a_bad_price_table_names_its_field(tmp_path: Path, text: str, field: str) -> None:
    """The message has the file, the field and an example."""
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(InvalidPrices) as caught:
        read_prices(path)
    assert str(path) in str(caught.value)
    assert field in str(caught.value)
