"""Runs that several tests look at, each trained once; which files come first; `--quick` and `--long`."""

import fcntl
import gc
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from file_costs import LONG, QUICK
from unreported import unreported

TESTS = Path(__file__).parent

# Before NumPy is imported, and for all processes that tests start: several tests share the cores, and threads
# of linear algebra that wait for each other take more time than they save on small arrays.
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="run only the files in tests/file_costs.py: QUICK")
    parser.addoption(
        "--long",
        action="store_true",
        help="run only the further variants of expensive tests (those of tests/variants.py)",
    )


def pytest_ignore_collect(collection_path, config):
    if config.getoption("--quick") and collection_path.name.startswith("test_"):
        return collection_path.relative_to(TESTS).as_posix() not in QUICK or None
    return None


def pytest_collection_modifyitems(config, items):
    """Selects the tests with or without the mark `long`, and puts those of long files first.

    Then no process ends with a long file while the others are idle.
    """
    wanted = config.getoption("--long")
    left_out = [item for item in items if (item.get_closest_marker("long") is not None) != wanted]
    config.hook.pytest_deselected(items=left_out)
    left_out = set(left_out)
    items[:] = [item for item in items if item not in left_out]
    place = {TESTS / name: i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef, request):
    """Seeds Keras for each fixture, because several tests may share it; see `pytest_runtest_call`."""
    random.seed(f"{request.node.nodeid} {fixturedef.argname}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item):
    """Seeds Keras for each test, so that layers without a seed do not depend on which tests ran before.

    Keras draws their seeds from the module `random`. Keras itself is not imported, because many tests do not
    need it.
    """
    random.seed(item.nodeid)


@pytest.fixture(scope="module", autouse=True)
def garbage_of_earlier_files_is_collected_once():
    """Keeps the search for garbage from looking again and again at all that earlier files have left."""
    gc.set_threshold(10_000)  # as a command does
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def files_are_not_flushed_to_disk():
    """Saves the waits of a small run for the disk, a hundred and more; only a loss of power could tell.

    Commands in processes of their own do flush.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_session(tmp_path_factory):
    """Keeps the features that runs share away from those of the person who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def run_command(*words, cwd=None, timeout=300):
    """Runs `tlkeras WORDS` in a process of its own; `check` is left to the caller."""
    program = "from tlkeras.cli.main import entry; entry()"
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        capture_output=True, text=True, timeout=timeout, cwd=cwd,
    )  # fmt: skip


@pytest.fixture(scope="session")
def last_json():
    """Returns `last_json(script, *words)`: what the last line says of a script in a process of its own."""

    def run(script, *words):
        # two_cpus.py lies in TESTS
        paths = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [sys.executable, script, *words],
            env={**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True, text=True, timeout=1500,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.strip().splitlines()[-1])

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A finished run of `synthetic_smoke`; not to be changed, see `run_copy`."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # all processes of pytest share the run
        folder = folder.parent
    workdir, finished = folder / "trained" / "smoke", folder / "trained.finished"
    with open(folder / "trained.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            words = ["--set", "tensorboard.histograms=true", "--set", "stages.1.augment.flip=horizontal"]
            done = run_command("train", "--config=synthetic_smoke", f"--workdir={workdir}", *words)
            assert done.returncode == 0, done.stderr
            finished.touch()
    return workdir


@pytest.fixture
def without_report():
    """For a test of weights and metrics. A run of the same kind with its report must be in another test."""
    with unreported():
        yield


@pytest.fixture(scope="module")
def without_reports():
    """`without_report` for all tests of a file, and the runs that they share."""
    with unreported():
        yield


@pytest.fixture
def run_copy(trained, tmp_path) -> Path:
    """A copy of `trained` that a test may change."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))
