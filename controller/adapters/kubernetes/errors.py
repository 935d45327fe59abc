"""Why the API server did not do as asked, as errors that may cross the ports."""

from typing import Any

from controller.ports import Conflict, PortError


class Refused(PortError):  # noqa: N818 - named after what happened, as users read it
    """The API server answered no; ``code`` is the HTTP status and the text its own message."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)

    @property
    def test_failed(self) -> bool:
        """Whether it is the answer to a JSON patch of which a test failed.

        The API server tells so by its code alone, which it also gives to what is not valid.
        """
        return self.code == 422 and "is invalid" not in str(self)


class NotFound(Refused):
    """There is no such object, or no such kind."""


class Forbidden(Refused):
    """The operator's ServiceAccount may not do that."""


class Unanswered(PortError):  # noqa: N818 - named after what happened, as users read it
    """No answer came, or none that can be read."""


class AnotherWriter(PortError):  # noqa: N818 - named after what happened, as users read it
    """Something else sets the replicas of a target: it is not fought; the text says the fix."""


def refusal(code: int, document: Any, reason: str) -> PortError:
    """The error of an answer with status ``code`` whose body is ``document``."""
    told = document.get("message") if isinstance(document, dict) else None
    message = str(told or reason or f"HTTP {code}")
    if code == 409:
        return Conflict(message)
    kind = {403: Forbidden, 404: NotFound}.get(code, Refused)
    return kind(code, message)
