"""Which ModelDeployments exist: their uids alone, a few hundred at a time."""

import json
from collections.abc import Sequence
from typing import Final

from controller.api.v1alpha1 import GROUP, VERSION
from kubernetes import client

_PLURAL: Final = "modeldeployments"

#: Objects of one answer.
_LIMIT: Final = 500

#: Asks for metadata alone: a listing of whole objects is ten times as long.
_ACCEPT: Final = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"


def existing_uids(
    api: client.ApiClient, namespaces: Sequence[str], timeout_seconds: float
) -> set[str]:
    """List the uids of the objects in ``namespaces``, or in all of them where none is named.

    The listing is consistent: what was created before it is in it. It blocks.

    Raises:
        kubernetes.client.ApiException: the API server refuses, such as where the definition of
            ModelDeployments is not installed (404).
        urllib3.exceptions.HTTPError: it does not answer.
    """
    places = [f"/namespaces/{namespace}" for namespace in namespaces] or [""]
    return {uid for place in places for uid in _listed(api, place, timeout_seconds)}


def _listed(api: client.ApiClient, place: str, timeout_seconds: float) -> set[str]:
    uids: set[str] = set()
    further = ""
    while True:
        query = [("limit", str(_LIMIT)), *([("continue", further)] if further else [])]
        parts = api.param_serialize(
            "GET",
            f"/apis/{GROUP}/{VERSION}{place}/{_PLURAL}",
            query_params=query,
            header_params={"Accept": _ACCEPT},
            auth_settings=["BearerToken"],
        )
        answer = api.call_api(*parts, _request_timeout=timeout_seconds)
        data: bytes = answer.read()  # type: ignore[no-untyped-call]  # the client's own gap
        if not 200 <= answer.status < 300:
            raise client.ApiException.from_response(
                http_resp=answer, body=data.decode(errors="replace"), data=None
            )
        document = json.loads(data)
        uids |= {item["metadata"]["uid"] for item in document.get("items") or ()}
        further = document.get("metadata", {}).get("continue") or ""
        if not further:
            return uids
