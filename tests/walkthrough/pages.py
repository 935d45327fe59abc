"""Fenced blocks of the documents, by the name in an HTML comment before them, which nobody sees.

<!-- walkthrough: kind -->
```sh
make kind    # Docker, kind and kubectl on PATH
```
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
OPERATIONS = ROOT / "docs" / "operations.md"

#: Behind a command: what is said to the reader. A ``#`` within a word or quotes is no comment.
_COMMENT = re.compile(r"\s+#\s.*$")


def block(page: Path, name: str) -> str:
    """Return the text of the one block of that name.

    Raises:
        ValueError: there is none, or more than one.
    """
    marked = rf"^<!-- walkthrough: {re.escape(name)} -->\n```\w*\n(.*?)^```$"
    found = re.findall(marked, page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    if len(found) != 1:
        raise ValueError(f"{page}: {len(found)} blocks follow <!-- walkthrough: {name} -->, not 1")
    return str(found[0])


def lines(page: Path, name: str) -> tuple[str, ...]:
    """Return the lines of a block as they are written, comments and all."""
    return tuple(line for line in block(page, name).splitlines() if line.strip())


def commands(page: Path, name: str) -> tuple[str, ...]:
    """Return the commands of a block, without what is said about them."""
    return tuple(bare(line) for line in lines(page, name))


def bare(line: str) -> str:
    """Return a line's command, without what is said about it."""
    return _COMMENT.sub("", line).strip()
