"""The error of a trace that cannot be used."""

from pathlib import Path


class InvalidTrace(ValueError):  # noqa: N818 - named after what it is, as users read it
    """A trace, or a part or scaling asked of it, that cannot be; the message says what can."""

    @classmethod
    def in_file(cls, path: Path, line: int | None, problem: str, expected: str) -> "InvalidTrace":
        """What is wrong on a line of a file (None: with the whole file), and what was expected."""
        where = f"{path}" if line is None else f"{path}, line {line}"
        return cls(f"{where}: {problem}; expected {expected}")
