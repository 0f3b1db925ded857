"""What is imported late, inside functions and by name, is there: only this shows it before a user does."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(
    path for folder in ("tlkeras", "benchmarks", "experiments") for path in (ROOT / folder).rglob("*.py")
)


def imported(path: Path) -> set[tuple[str, str]]:
    """Returns `(module, name)` of every `from tlkeras... import name` of a file, wherever it stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tlkeras":
            found |= {(node.module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names if alias.name.split(".")[0] == "tlkeras"}
    return found


def is_there(module: str, name: str) -> bool:
    if not name or hasattr(importlib.import_module(module), name):
        return importlib.import_module(module) is not None
    try:
        return importlib.import_module(f"{module}.{name}") is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_name_that_is_imported_exists(path):
    missing = [f"{module}.{name}" for module, name in sorted(imported(path)) if not is_there(module, name)]
    assert not missing


def test_every_name_that_is_reached_through_a_package_exists(monkeypatch):
    # `from tlkeras import studies`, and then `studies.rank.rank(...)`
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from house_imports import imports_of

    for path in sorted((ROOT / "tlkeras").rglob("*.py")):
        for found in imports_of(ast.parse(path.read_text("utf-8"))):
            if found.through:
                value = sys.modules["tlkeras"]
                for name in [*found.module.split(".")[1:], found.name]:
                    value = getattr(value, name)


def tables() -> list[tuple[str, str]]:
    """Returns `(package, name)` of every lazy table."""
    found = []
    for path in sorted((ROOT / "tlkeras").rglob("__init__.py")):
        if "lazy_names(" in path.read_text("utf-8"):
            package = ".".join(path.parent.relative_to(ROOT).parts)
            homes = importlib.import_module(package)._HOMES
            assert homes, package
            found += [(package, name) for name in homes]
    return found


@pytest.mark.parametrize(("package", "name"), tables())
def test_every_lazy_name_is_found(package, name):
    assert getattr(importlib.import_module(package), name) is not None
