"""The shape of the project: imports run one way, modules stay small, starting loads little."""

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import pytest

from tlkeras.cli.main import COMMANDS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tlkeras"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Each floor may import from those above it, never from its own neighbours or from below.
FLOORS = (
    ("lazy", "maybe", "quiet"),
    ("errors",),
    ("messages",),
    ("registry",),
    ("config",),
    ("run_dir",),
    ("backend", "tracking"),
    ("data",),
    ("models",),
    ("features",),
    ("methods",),
    ("settled_config",),
    ("prepare", "adaptation"),
    ("evaluation",),
    ("training",),
    ("runs", "plan"),
    ("export", "report"),
    ("publish", "demo"),
    ("run",),
    ("studies",),
    ("cli",),
    ("__main__",),
)
# TensorFlow is theirs; everything else uses Keras' operations.
TENSORFLOW_ROOMS = {"backend", "data", "export"}
FLOOR_OF = {name: number for number, names in enumerate(FLOORS) for name in names}


def room(path: Path) -> str:
    """The package or module right below tlkeras that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "tlkeras":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tlkeras."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("tlkeras.")}
    return (found & FLOOR_OF.keys()) - {room(path)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    if room(path) == "__init__":
        return
    assert room(path) in FLOOR_OF, f"{room(path)} has no floor yet"
    below = {name for name in imported_rooms(path) if FLOOR_OF[name] >= FLOOR_OF[room(path)]}
    assert not below


def test_no_files_import_in_a_circle(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from house_imports import circles, imports_of, modules, resolved

    trees = {at: ast.parse(path.read_text(encoding="utf-8")) for at, path in modules(PACKAGE).items()}
    graph = {
        at: {to for found in imports_of(tree) for to in resolved(found, at, trees)}  # late ones, types too
        for at, tree in trees.items()
    }
    assert circles(graph) == []


def test_tensorflow_lives_in_three_rooms(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from house_imports import imports_of, modules

    trees = {at: ast.parse(path.read_text(encoding="utf-8")) for at, path in modules(PACKAGE).items()}
    found = {at for at, tree in trees.items() if any(i.top == "tensorflow" for i in imports_of(tree))}
    assert {at.split("/")[0] for at in found} == TENSORFLOW_ROOMS, sorted(found)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_and_functions_stay_small(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            assert not body or body[-1].end_lineno - body[0].lineno < 60, node.name


def test_setup_cfg_names_every_package():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    named = set(setup["options"]["packages"].split())
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in MODULES if path.name == "__init__.py"}
    assert named == found | {"tlkeras.experiments"}


def test_the_test_files_have_names_of_their_own():
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)


def loaded_by(program: str) -> set[str]:
    """The packages of others, and our own modules, that a fresh interpreter holds after `program`."""
    program = f"import sys; before = set(sys.modules); {program}; print(*(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT
    )
    names = done.stdout.splitlines()[-1].split()
    ours = {name for name in names if name.startswith("tlkeras")}
    return ours | {top for name in names if (top := name.partition(".")[0]) not in sys.stdlib_module_names}


def test_import_loads_next_to_nothing():
    assert loaded_by("import tlkeras") == {"tlkeras", "tlkeras.lazy", "tlkeras.quiet"}


def test_configs_and_data_leave_tensorflow_to_the_runtime():
    # it reads settings when it is imported, which only the runtime knows
    loaded = "tlkeras.studies.experiment, tlkeras.data.domains"
    program = f"import sys, {loaded}; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_help_needs_no_heavy_package():
    program = f"from tlkeras.cli.main import main; [main([name, '--help']) for name in {list(COMMANDS)}]"
    light = {"absl", "annotated_types", "numpy", "packaging", "pydantic", "pydantic_core", "rich"}
    found = {name for name in loaded_by(program) if not name.startswith(("tlkeras", "typing_", "_"))}
    assert found <= light
