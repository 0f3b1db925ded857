"""`--long` runs the further variants of expensive tests and nothing else; CI runs one variant of each."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
SETTINGS = TESTS.parent / "setup.cfg"
MADE_UP = """
import pytest
from variants import all_but, further

@pytest.fixture(params=["a", further("b")])
def letter(request):
    return request.param

def test_letter(letter): pass

@pytest.mark.parametrize("x", [1, further(2)])
@pytest.mark.parametrize("y", all_but([1], [1, 2]))
def test_numbers(x, y): pass

def test_plain(): pass
"""
# prints each collected function with the ids of its tests, and whether only --long runs them
COLLECT = """
import json, sys
import pytest

class Seen:
    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items):
        found = {}
        for item in items:
            is_long = item.get_closest_marker("long") is not None
            found.setdefault(f"{item.path}::{item.originalname}", {})[item.name] = is_long
        print(json.dumps(found))

sys.exit(pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", *sys.argv[1:]], [Seen()]))
"""


def python(*words, cwd):
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=cwd, env={**os.environ, "PYTHONPATH": paths},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_further_variants_run_with_long_alone(tmp_path):
    (tmp_path / "test_made_up.py").write_text(MADE_UP)
    words = ["-m", "pytest", "-vv", "-p", "conftest", "-p", "no:cacheprovider", "-c", SETTINGS]
    ran = {}
    for flags in ((), ("--long",)):
        lines = python(*words, f"--basetemp={tmp_path / 'runs'}", *flags, ".", cwd=tmp_path).splitlines()
        ran[flags] = {line.split("::")[1].split()[0] for line in lines if "PASSED" in line}
    assert ran[()] == {"test_letter[a]", "test_numbers[1-1]", "test_plain"}
    assert ran["--long",] == {
        "test_letter[b]", "test_numbers[1-2]", "test_numbers[2-1]", "test_numbers[2-2]",
    }  # fmt: skip


def test_each_test_has_a_variant_that_runs_without_long():
    words = ("from variants import", "mark.long")
    files = [path for path in TESTS.rglob("test_*.py") if any(word in path.read_text() for word in words)]
    files.remove(Path(__file__))
    assert files
    found = json.loads(python("-c", COLLECT, *files, cwd=TESTS.parent).partition("\n")[0])
    assert any(any(variants.values()) for variants in found.values())
    only_long = [name for name, variants in found.items() if all(variants.values())]
    assert not only_long


def test_layers_without_a_seed_do_not_depend_on_earlier_tests(request):
    """Keras draws their seeds from `random`, whose state here is that of this test alone."""
    assert random.getstate() == random.Random(request.node.nodeid).getstate()
