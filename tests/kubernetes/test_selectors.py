"""Label selectors mean what Kubernetes says, in both of their notations."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.adapters.kubernetes.selectors import Selector, from_object, from_text

WORDS = st.text("abcdefgh./-", min_size=1, max_size=6).filter(lambda w: w not in {"in", "notin"})


@pytest.mark.parametrize(
    ("text", "labels", "selected"),
    [
        ("app=llama", {"app": "llama"}, True),
        ("app=llama", {"app": "other"}, False),
        ("app==llama,tier=gpu", {"app": "llama", "tier": "gpu"}, True),
        ("app==llama,tier=gpu", {"app": "llama"}, False),
        ("app!=llama", {"app": "other"}, True),
        ("app!=llama", {}, True),
        ("app!=llama", {"app": "llama"}, False),
        ("app in (llama, qwen)", {"app": "qwen"}, True),
        ("app in (llama,qwen),x", {"app": "qwen"}, False),
        ("app notin (llama,qwen)", {"app": "phi"}, True),
        ("app notin (llama,qwen)", {"app": "qwen"}, False),
        ("app", {"app": ""}, True),
        ("app", {}, False),
        ("!app", {}, True),
        ("!app", {"app": "x"}, False),
        ("leaderworkerset.sigs.k8s.io/name=a,worker-index=0", {"worker-index": "0"}, False),
    ],
)
def test_the_scales_notation(text: str, labels: dict[str, str], *, selected: bool) -> None:
    """Equality, sets and presence, each alone and together."""
    assert from_text(text).matches(labels) is selected


@pytest.mark.parametrize("text", ["a=b c", "in (a)", "=x", "a in b", "a=(b)"])
def test_what_is_no_selector_is_refused(text: str) -> None:
    """Nothing is selected by something that was not understood."""
    with pytest.raises(ValueError, match="not a label selector"):
        from_text(text)


def test_an_empty_selector_selects_nothing() -> None:
    """A workload that selects all pods of a namespace is a mistake, and not followed."""
    assert not from_text("").matches({"app": "llama"})
    assert not from_object({}).matches({"app": "llama"})


@given(
    pairs=st.dictionaries(WORDS, WORDS, min_size=1, max_size=3),
    labels=st.dictionaries(WORDS, WORDS),
)
def test_both_notations_agree(pairs: dict[str, str], labels: dict[str, str]) -> None:
    """An object's matchLabels and the same as text select the same."""
    text = from_text(",".join(f"{key}={value}" for key, value in pairs.items()))
    as_object = from_object({"matchLabels": pairs})
    for chosen in (labels, {**labels, **pairs}):
        assert text.matches(chosen) == as_object.matches(chosen)
    assert as_object.matches({**labels, **pairs})


def test_expressions_of_objects() -> None:
    """All four operators are read."""
    selector = from_object(
        {
            "matchExpressions": [
                {"key": "a", "operator": "In", "values": ["1", "2"]},
                {"key": "b", "operator": "NotIn", "values": ["1"]},
                {"key": "c", "operator": "Exists"},
                {"key": "d", "operator": "DoesNotExist"},
            ]
        }
    )
    assert selector.matches({"a": "2", "c": ""})
    for wrong in ({"a": "3", "c": ""}, {"a": "1", "b": "1", "c": ""}, {"a": "1"}, {"d": "x"}):
        assert not selector.matches(wrong)


@given(st.text("abc=!,() in", max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing else happens, whatever a scale's status holds."""
    with contextlib.suppress(ValueError):
        assert isinstance(from_text(text), Selector)
