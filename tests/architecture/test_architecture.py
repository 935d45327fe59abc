"""The rules of the tree that no linter knows, and that the linter's own contracts hold."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("controller", "simulations")
#: Lines of code a function or a module of the core may have.
LONGEST_FUNCTION = 60
LONGEST_MODULE = 350
#: Names that say nothing of what is inside.
NAMELESS = {
    "utils",
    "util",
    "utilities",
    "common",
    "commons",
    "helpers",
    "helper",
    "misc",
    "shared",
}
OPEN_NOTES = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)) + r")\b")


def modules(*packages: str) -> list[Path]:
    """Python files of some packages."""
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def text_files() -> Iterator[Path]:
    """Files of the project that people wrote."""
    kinds = {".py", ".md", ".yaml", ".toml", ".js", ".css", ".jinja", ".j2", ".html"}
    for folder in (*PACKAGES, "tests", "docs", "manifests", "crds"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in kinds and "__pycache__" not in path.parts:
                yield path
    yield from (ROOT / name for name in ("README.md", "CHANGELOG.md", "Makefile", "pyproject.toml"))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and lines of every function of a module, its docstring not counted."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            doc = node.body[0]
            if ast.get_docstring(node) is not None:
                lines -= (doc.end_lineno or doc.lineno) - doc.lineno + 1
            yield f"{path.relative_to(ROOT)}:{node.name}", lines


def test_import_contracts_hold() -> None:
    """The rings, the core's stages and its purity are as pyproject.toml declares them."""
    command = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    done = subprocess.run(  # noqa: S603 - our own interpreter and a constant
        [sys.executable, "-c", command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_no_module_is_named_after_nothing() -> None:
    """A module is named after its idea."""
    named = {
        str(path.relative_to(ROOT))
        for path in modules(*PACKAGES)
        for part in (*path.relative_to(ROOT).parts[:-1], path.stem)
        if part.lower().strip("_") in NAMELESS
    }
    assert named == set()


def test_functions_of_the_core_are_short() -> None:
    """No function of the core is longer than a screen."""
    found = [found for path in modules("controller/core") for found in functions(path)]
    assert len(found) > 50
    assert [(name, lines) for name, lines in found if lines > LONGEST_FUNCTION] == []


def test_modules_of_the_core_hold_one_idea() -> None:
    """No module of the core is longer than one idea needs."""
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in modules("controller/core")
    }
    assert {name: count for name, count in lines.items() if count > LONGEST_MODULE} == {}


def test_every_module_of_the_product_says_what_it_is_for() -> None:
    """Every module has a docstring, packages included."""
    silent = [
        str(path.relative_to(ROOT))
        for path in modules(*PACKAGES)
        if ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert silent == []


def test_no_open_notes_are_committed() -> None:
    """What is left to do is done or told, not noted in the code."""
    noted = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in text_files()
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if OPEN_NOTES.search(line)
    ]
    assert noted == []


def test_the_lock_names_no_index_and_pins_every_package_by_hash() -> None:
    """Whoever installs decides where packages come from; what they are is fixed."""
    text = (ROOT / "requirements.lock").read_text()
    assert re.search(r"https?://|--(extra-)?index-url|--find-links|(^|\s)-[if]\s", text) is None
    blocks = re.split(r"\n(?=\S)", text.strip())
    pinned = [block for block in blocks if not block.startswith("#")]
    assert len(pinned) > 20
    unpinned = [
        block.splitlines()[0]
        for block in pinned
        if not re.match(r"[\w.\-\[\],]+==\S+", block) or "--hash=sha256:" not in block
    ]
    assert unpinned == []


def test_every_test_file_has_a_name_of_its_own() -> None:
    """Test files are told apart by name alone: they are imported without packages."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))


def test_every_test_says_in_a_sentence_what_it_shows() -> None:
    """A test's docstring is its claim."""
    silent = [
        f"{path.relative_to(ROOT)}:{node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and ast.get_docstring(node) is None
    ]
    assert silent == []
