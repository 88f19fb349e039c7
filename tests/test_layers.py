"""Imports point downward: a layer knows only those below it."""

import ast
import re
from pathlib import Path

import pytest

import sk_fewshot

ROOT = Path(sk_fewshot.__file__).parent

CONTRIBUTING = ROOT.parent / "CONTRIBUTING.md"  # has the table of layers
LAYERS = [
    set(re.findall(r"`(\w+)`", row))
    for row in re.findall(r"^\| \d+ \| (.*) \|$", CONTRIBUTING.read_text(), re.MULTILINE)
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imported(path):
    """Top-level parts of the package that a file imports, functions' own imports included."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names = [node.module]
            if node.module == "sk_fewshot":
                names = [f"sk_fewshot.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from (name.split(".")[1] for name in names if name.startswith("sk_fewshot."))


FILES = [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downward(path):
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert part in LEVEL, f"{part} has no layer yet: add it to LAYERS"
    for other in imported(path):
        assert other == part or LEVEL[other] < LEVEL[part], f"{path} imports {other}"


def test_only_the_engine_knows_skorch():
    users = {
        path.relative_to(ROOT).parts[0] for path in FILES if "skorch" in imported_packages(path)
    }
    assert users == {"_training"}


def imported_packages(path):
    """Top-level packages that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
