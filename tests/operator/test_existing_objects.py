"""What exists is listed page by page, on a real API server."""

import copy
from typing import Any

import pytest

from controller.adapters import existing
from controlplane.cluster import ControlPlane
from kubernetes import client

pytestmark = pytest.mark.cluster


def test_uids_are_listed_over_all_pages_and_by_namespace(
    control_plane: ControlPlane,
    namespace: str,
    make_body: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pages are followed to the end, and a namespace without objects has none."""
    monkeypatch.setattr(existing, "_LIMIT", 2)
    for i in range(5):
        body = copy.deepcopy(make_body())
        body["metadata"] = {"name": f"model-{i}", "namespace": namespace}
        control_plane.apply(body)
    listed = control_plane.kubectl(
        "get", "modeldeployments", "-n", namespace, "-o", "jsonpath={.items[*].metadata.uid}"
    )
    assert len(listed.split()) == 5
    api = control_plane.api
    assert existing.existing_uids(api, [namespace, "default"], 30.0) == set(listed.split())
    assert existing.existing_uids(api, [], 30.0) >= set(listed.split())
    assert existing.existing_uids(api, ["default"], 30.0) == set()


def test_a_definition_that_is_not_there_is_an_error(
    control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listed is not the same as nothing there."""
    monkeypatch.setattr(existing, "_PLURAL", "unheardofs")
    with pytest.raises(client.ApiException) as caught:
        existing.existing_uids(control_plane.api, [], 30.0)
    assert caught.value.status == 404
