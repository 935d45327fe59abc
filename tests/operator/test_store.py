"""The store: what the watch tells, as policies, entries and errors."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.api.prices import REFERENCE_PRICES
from controller.api.v1alpha1 import ModelDeployment
from controller.core.domain.policy import ObjectKey, Pause
from controller.operator.handlers import put
from controller.operator.store import ObjectStore

MakeBody = Callable[..., dict[str, Any]]
KEY = ObjectKey("serving", "llama-chat")
DAY = 86_400.0


@pytest.fixture
def store() -> ObjectStore:
    """Nothing in it."""
    return ObjectStore(prices=REFERENCE_PRICES, tick_seconds=15.0)


def test_an_object_is_kept_and_found(store: ObjectStore, make_body: MakeBody, now: float) -> None:
    """A valid object has a policy and an entry with what adapters look up."""
    store.put(make_body())
    (policy,) = store.policies(now)
    entry = store.entry(KEY)
    assert entry.policy == policy
    assert entry.deployment.metadata.uid == "uid-llama-chat"
    assert entry.resource_version == "10"
    assert entry.status is None
    assert store.invalid() == []


def test_an_invalid_object_is_kept_apart_with_its_error(
    store: ObjectStore, make_body: MakeBody, now: float
) -> None:
    """It has no policy and no entry, and says what is wrong; another is untouched by it."""
    bad = make_body("bad")
    bad["spec"]["variants"][0]["maxReplicas"] = 0
    unpriced = make_body("unpriced")
    unpriced["spec"]["variants"][0]["accelerator"] = "abacus"
    for body in (bad, unpriced, make_body()):
        store.put(body)
    assert [policy.name for policy in store.policies(now)] == ["llama-chat"]
    told = {one.identity.key.name: str(one.error) for one in store.invalid()}
    assert "spec.variants[0].maxReplicas" in told["bad"]
    assert "abacus" in told["unpriced"]
    with pytest.raises(KeyError):
        store.entry(ObjectKey("serving", "bad"))


def test_a_status_write_of_ours_changes_the_version_only(
    store: ObjectStore, make_body: MakeBody, now: float
) -> None:
    """The policy stays the same object; status and resource version are the new ones."""
    store.put(make_body())
    (before,) = store.policies(now)
    store.put({**make_body(resourceVersion="11"), "status": {"primary": "4/5"}})
    assert store.policies(now)[0] is before
    entry = store.entry(KEY)
    assert entry.resource_version == "11"
    assert entry.status is not None
    assert entry.status.primary == "4/5"


def test_an_annotation_alone_pauses(store: ObjectStore, make_body: MakeBody, now: float) -> None:
    """Annotations do not change the generation, and are read anew all the same."""
    store.put(make_body())
    store.put(make_body(resourceVersion="11", annotations={"steelyard.dev/paused": "in"}))
    assert store.policies(now)[0].pause is Pause.IN


def test_an_event_that_was_overtaken_changes_nothing(
    store: ObjectStore, make_body: MakeBody
) -> None:
    """A listing may bring an older version than the watch did."""
    store.put(make_body(resourceVersion="100"))
    store.put(make_body(resourceVersion="99", generation=0))
    assert store.entry(KEY).resource_version == "100"


def test_a_deletion_forgets_that_object_only(
    store: ObjectStore, make_body: MakeBody, now: float
) -> None:
    """One that was made anew under the same name stays when the old one's end is told late."""
    put(store, {"type": "ADDED", "object": make_body()})
    put(store, {"type": None, "object": make_body(uid="new", resourceVersion="20")})
    put(store, {"type": "DELETED", "object": make_body(resourceVersion="19")})
    assert store.entry(KEY).deployment.metadata.uid == "new"
    put(store, {"type": "DELETED", "object": make_body(uid="new", resourceVersion="21")})
    assert store.policies(now) == []


def test_what_is_gone_unseen_is_forgotten_by_its_uid(
    store: ObjectStore, make_body: MakeBody, now: float
) -> None:
    """The watch never tells a deletion that happened while it was interrupted."""
    store.put(make_body("a"))
    store.put(make_body("b"))
    assert store.forget({"uid-a", "unheard-of"}) == [ObjectKey("serving", "a")]
    assert [policy.name for policy in store.policies(now)] == ["b"]
    assert store.uids() == {"uid-b"}


def test_schedules_are_expanded_anew_each_day(
    store: ObjectStore, make_body: MakeBody, now: float
) -> None:
    """Tomorrow's windows are there tomorrow, without any event of the object."""
    body = make_body()
    body["spec"]["schedules"] = [
        {
            "name": "office",
            "variant": "bf16",
            "cron": "0 8 * * *",
            "timeZone": "Etc/UTC",
            "durationSeconds": 3600,
            "minReplicas": 3,
        }
    ]
    store.put(body)
    for day in range(4):
        at = now // DAY * DAY + day * DAY
        (policy,) = store.policies(at)
        (schedule,) = policy.schedules
        assert schedule.open_at(at + 8.5 * 3600)
        assert not schedule.open_at(at + 9.5 * 3600)
    assert store.entry(KEY).policy.schedules[0].windows


def test_gpus_are_read_off_the_templates_as_they_are_now(make_body: MakeBody, now: float) -> None:
    """An edited pod template changes the policy, and an unknown one makes the object invalid."""
    gpus = {"bf16": 2}

    def pod_gpus(deployment: ModelDeployment) -> dict[str, int]:
        assert deployment.metadata.name == "llama-chat"
        return dict(gpus)

    store = ObjectStore(prices=REFERENCE_PRICES, tick_seconds=15.0, pod_gpus=pod_gpus)
    store.put(make_body())
    assert store.policies(now)[0].variants[0].gpus_per_replica == 2
    gpus["bf16"] = 4
    assert store.policies(now)[0].variants[0].gpus_per_replica == 4


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    garbage=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=8,
    )
)
def test_no_spec_and_no_status_breaks_the_store(
    store: ObjectStore, make_body: MakeBody, garbage: Any
) -> None:
    """Whatever an owner or another program wrote, the object is kept as invalid and told."""
    body = make_body("odd", resourceVersion="")
    body["spec"] = garbage
    body["status"] = garbage if isinstance(garbage, dict) else {"variants": garbage}
    store.put(body)
    assert [one.identity.key.name for one in store.invalid()] == ["odd"]
