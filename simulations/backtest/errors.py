"""The error of a history that cannot be replayed."""


class InvalidHistory(ValueError):  # noqa: N818 - named after what it is, as users read it
    """What was asked for, or what Prometheus has of it, makes no back-test; says the fix."""
