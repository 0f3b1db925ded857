"""A TPU that TensorFlow does not reach is found out in another process, whatever becomes of that."""

import configparser
import os
import re
from importlib import metadata
from pathlib import Path

import pytest

from tlkeras.backend import environment, tpu_probe
from tlkeras.errors import UserError

ABORT = "import os; os.abort()"
BY_PJRT = "import os; os.environ['PJRT_DEVICE']"


@pytest.fixture(autouse=True)
def a_driver(monkeypatch):
    monkeypatch.setattr(tpu_probe, "has_libtpu", lambda: True)
    for name in tpu_probe._pjrt():
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.parametrize(("program", "said"), [
    (ABORT, "ended by SIGABRT"),
    ("raise SystemExit(3)", "ended with code 3"),
    ("class UserError(Exception): pass\nraise UserError('No TPU answers.')", "reach it. No TPU answers."),
    ("import time; time.sleep(60)", "No answer within 0.3 s"),
])  # fmt: skip
def test_why_it_is_not_reached_is_one_line(monkeypatch, program, said):
    monkeypatch.setattr(tpu_probe, "_QUESTION", program)
    monkeypatch.setattr(tpu_probe, "SECONDS", 0.3 if "sleep" in program else 60)
    reason = tpu_probe.unreached_tpu()
    assert reason.startswith("There is a TPU, and TensorFlow does not reach it.") and said in reason
    assert "\n" not in reason and reason.count(said.split(".")[0]) == 1
    assert "PJRT_DEVICE" not in os.environ


def test_the_interface_that_answers_is_taken(monkeypatch):
    monkeypatch.setattr(tpu_probe, "_QUESTION", "pass")
    assert tpu_probe.unreached_tpu() == "" and "PJRT_DEVICE" not in os.environ
    monkeypatch.setattr(tpu_probe, "_QUESTION", BY_PJRT)
    assert tpu_probe.unreached_tpu() == "" and os.environ["PJRT_DEVICE"] == "TPU"


def test_both_reasons_are_told(monkeypatch):
    monkeypatch.setattr(tpu_probe, "_QUESTION", f"{BY_PJRT}; os.abort()")
    assert re.search("KeyError.*By PJRT: The process was ended by SIGABRT", tpu_probe.unreached_tpu())


@pytest.mark.parametrize(("driver", "refused"), [
    ("0.0.10", False), ("0.0.24", False), ("0.0.32.1", True), ("0.0.52", True), (None, False),
])  # fmt: skip
def test_a_driver_that_would_end_the_process_is_refused(monkeypatch, driver, refused):
    def version(name):
        if driver is None:
            raise metadata.PackageNotFoundError(name)
        return {"libtpu": driver, "tensorflow-tpu": "2.20.0"}[name]

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(environment.sys, "modules", {})
    if refused:
        with pytest.raises(UserError, match=rf"libtpu<0\.0\.25.*Received: libtpu {re.escape(driver)}"):
            environment.check_tensorflow()
        monkeypatch.setenv("TPU_LOAD_LIBRARY", "0")
    environment.check_tensorflow()


def test_the_extra_asks_for_a_driver_that_is_taken():
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[2] / "setup.cfg")
    first, second, third = environment.NEWEST_LIBTPU
    assert f"libtpu<{first}.{second}.{third + 1}" in setup["options.extras_require"]["tpu"].split()
