"""A terminal that somebody types into: an interactive shell, its jobs, and Ctrl-C."""

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from controlplane.waiting import until

#: A shell of a person's, apart from the person's own settings. ``pty`` makes the terminal and
#: copies what is typed and shown, and its end hangs up, which ends what still runs in it.
_SHELL = ["bash", "--noprofile", "--norc", "--noediting", "-i"]
_COPY = [sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])", *_SHELL]

_PROMPT = re.compile(r"<<(\d+)>>\Z")  # the status of the last command
_INTERRUPT = "\x03"

#: Long enough for anything typed here, also where a program must first be built.
_PATIENCE_SECONDS = 600.0


class CommandFailed(AssertionError):  # noqa: N818 - named after what happened
    """A command ended with a status other than 0; the text has what it showed."""


class Terminal:
    """One shell in ``folder``; ``close`` hangs up."""

    def __init__(self, folder: Path, environment: Mapping[str, str], transcript: Path) -> None:
        self._transcript = transcript
        with transcript.open("wb") as shown:
            self._copier = subprocess.Popen(  # noqa: S603 - a shell of ours
                _COPY,
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=shown,
                stderr=subprocess.STDOUT,
                env={**environment, "PS1": "<<$?>>", "TERM": "dumb"},
                start_new_session=True,
            )
        self._read = 0
        self._ended()
        self.type("stty -echo columns 160")  # what follows shows programs only

    def type(self, line: str) -> str:
        """Type a line, wait for the prompt, and return what was shown.

        Raises:
            CommandFailed: its status is not 0.
        """
        self._send(line + "\n")
        shown, status = self._ended()
        if status:
            raise CommandFailed(f"{line}\nended with {status}:\n{shown[-6000:]}")
        return shown

    def watch(self, line: str, seen: Callable[[str], object], what: str) -> str:
        """Type a line that does not end by itself; once ``seen(shown)``, press Ctrl-C.

        Raises:
            CommandFailed: it did end by itself.
        """
        self._send(line + "\n")
        until(
            lambda: seen(self._news()) or self._prompt(),
            what,
            seconds=_PATIENCE_SECONDS,
            detail=self._news,
        )
        if self._prompt():
            raise CommandFailed(f"{line}\nended by itself:\n{self._news()[-6000:]}")
        self._send(_INTERRUPT)
        shown, _ = self._ended()
        return shown

    def close(self) -> None:
        """Hang up."""
        self._copier.kill()
        self._copier.communicate()

    def shown(self) -> str:
        """Return everything, from the beginning."""
        text = self._transcript.read_text(encoding="utf-8", errors="replace")
        return text.replace("\r\n", "\n")

    def _send(self, text: str) -> None:
        if self._copier.stdin is None:
            raise BrokenPipeError("the terminal has no keyboard")
        self._copier.stdin.write(text.encode())
        self._copier.stdin.flush()

    def _news(self) -> str:
        """Return what was shown since the last command."""
        return self.shown()[self._read :]

    def _prompt(self) -> "re.Match[str] | None":
        return _PROMPT.search(self._news())

    def _wait_prompt(self) -> "re.Match[str]":
        return until(self._prompt, "the prompt", seconds=_PATIENCE_SECONDS, detail=self._news)

    def _ended(self) -> tuple[str, int]:
        """What the last command showed, and its status."""
        prompt = self._wait_prompt()
        shown = self._news()[: prompt.start()]
        self._read += prompt.end()
        return shown, int(prompt.group(1))
