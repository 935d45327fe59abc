"""Metrics profiles: names only, checked whole, each mistake told with its place."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.adapters.prometheus import queries
from controller.adapters.prometheus.engines import BUILT_IN, ArrivalsProfile
from controller.adapters.prometheus.profiles import InvalidProfiles, load, parse


def test_a_file_adds_to_the_built_in_profiles(tmp_path: Path) -> None:
    """A bare name stands for a family, one family for a list of alternatives."""
    path = tmp_path / "profiles.yaml"
    path.write_text(
        "engines:\n"
        "- name: my-engine\n"
        "  running: my_running\n"
        "  waiting: [my_waiting, old_waiting]\n"
        "  ended: {names: [done_total, failed_total], matching: {route: [chat, completions]}}\n"
        "  ttft: {name: first_token_ms, unit: 0.001}\n"
        "arrivals:\n"
        "- name: gateway\n"
        "  counter: requests_total\n"
        "  nameLabel: cluster\n"
        "  value: httproute/{namespace}/{name}/rule/0\n"
    )
    profiles = load(path)
    assert set(profiles.engines) == {*(p.name for p in BUILT_IN), "my-engine"}
    mine = profiles.engines["my-engine"]
    assert [family.names for family in mine.waiting] == [("my_waiting",), ("old_waiting",)]
    assert mine.ttft[0].unit == 0.001
    wanted = profiles.arrivals["gateway"].wanted("serving", "llama")
    assert wanted == "httproute/serving/llama/rule/0"


def test_without_a_file_there_are_the_built_in_ones() -> None:
    """No file is no error; an empty one neither."""
    assert set(load(None).engines) == {"VLLM", "SGLang", "TGI", "TritonTRTLLM"}
    assert parse(None).arrivals == {}


ENGINE = {"name": "mine", "running": "a", "waiting": "b", "ended": "c"}
GATEWAY = {"name": "gw", "counter": "a", "nameLabel": "b", "namespaceLabel": "c"}


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ([], "engines and arrivals"),
        ({"engine": []}, "engine: unknown field"),
        ({"engines": [{**ENGINE, "name": "VLLM"}]}, '"VLLM" is taken'),
        ({"engines": [ENGINE, ENGINE]}, '"mine" is taken'),
        ({"engines": [{k: v for k, v in ENGINE.items() if k != "ended"}]}, "engines.0.ended: miss"),
        ({"engines": [{**ENGINE, "running": "sum(up)"}]}, "engines.0.running"),
        ({"engines": [{**ENGINE, "podLabel": 'pod"}'}]}, "engines.0.podLabel"),
        ({"engines": [{**ENGINE, "query": "up"}]}, "engines.0.query: unknown field"),
        ({"arrivals": [{**GATEWAY, "namespaceLabel": None}]}, "nothing tells the namespace"),
        ({"arrivals": [{**GATEWAY, "value": "chat"}]}, "value must hold"),
        ({"arrivals": [GATEWAY, GATEWAY]}, "one name"),
    ],
)
def test_mistakes_are_told_with_their_place(document: object, told: str) -> None:
    """One line per wrong field."""
    with pytest.raises(InvalidProfiles) as refused:
        parse(document)
    assert told in str(refused.value)


def test_no_yaml_is_told(tmp_path: Path) -> None:
    """With the file's name."""
    path = tmp_path / "profiles.yaml"
    path.write_text("engines: [")
    with pytest.raises(InvalidProfiles, match="no YAML"):
        load(path)


def test_profiles_share_three_queries() -> None:
    """Seven engines are asked in three queries of each kind, each profile in one of them."""
    more = [{**ENGINE, "name": f"mine-{i}"} for i in range(3)]
    profiles = tuple(parse({"engines": more}).engines.values())
    asked = queries.readings(profiles, queries.Edges(), recorded=False)
    assert len(asked.expressions) == len(asked.profiles) == 3
    assert sorted(name for group in asked.profiles for name in group) == sorted(
        profile.name for profile in profiles
    )


def test_with_recording_rules_it_is_one_query_and_one_for_each_other_engine() -> None:
    """The rules record what is built in; an administrator's engine is asked raw."""
    profiles = tuple(parse({"engines": [ENGINE]}).engines.values())
    edges = queries.Edges(ttft=frozenset({"1.0"}))
    for built_in, expected in ((BUILT_IN, 1), (profiles, 2)):
        assert len(queries.readings(built_in, edges, recorded=True).expressions) == expected
        assert len(queries.edges(built_in, recorded=True).expressions) == 1
        assert len(queries.lengths(built_in, recorded=True).expressions) == 1


@given(st.text(max_size=30), st.text(max_size=30))
@settings(deadline=None)
def test_values_cannot_leave_their_string(namespace: str, name: str) -> None:
    """Whatever a tenant names its route, the query has the same strings and nothing between."""
    profile = ArrivalsProfile.model_validate(
        {"name": "gw", "counter": "a", "nameLabel": "b", "value": "{namespace}/{name}"}
    )
    plain = queries.arrivals(profile, ["x"])
    asked = queries.arrivals(profile, [profile.wanted(namespace, name)])
    assert _without_strings(asked) == _without_strings(plain)


def _without_strings(expression: str) -> str:
    """The expression with every string of PromQL left out."""
    outside, quoted, escaped = [], False, False
    for character in expression:
        if escaped:
            escaped = False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif not quoted:
            outside.append(character)
    assert not quoted
    return "".join(outside)
