"""Between the contract with users and the core: the only place that knows both sides."""

from controller.api.conversion.findings import Assessment
from controller.api.conversion.policy import CatalogLookup, to_policy
from controller.api.conversion.status import invalid_status, to_status
from controller.api.conversion.windows import with_windows

__all__ = [
    "Assessment",
    "CatalogLookup",
    "invalid_status",
    "to_policy",
    "to_status",
    "with_windows",
]
