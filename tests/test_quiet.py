"""TensorFlow's chatter, whoever imports it first."""

import os
import subprocess
import sys

import pytest
from variants import further


@pytest.mark.parametrize(
    "session",
    [
        further("import tlkeras, tensorflow as tf; tf.constant(1) + 1"),
        "import tlkeras, keras; keras.ops.ones(2) + 1",
        "from tlkeras.data.resize import resize",
        "import importlib.util, tlkeras; importlib.util.find_spec('tensorflow'); import tensorflow as tf;"
        "assert tf.__loader__ is tf.__spec__.loader and 'quiet' not in type(tf.__loader__).__module__",
    ],
)
def test_the_first_import_prints_nothing(session):
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", session], capture_output=True, text=True, timeout=300, env=environment
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_import_that_fails_prints_everything(tmp_path):
    package = tmp_path / "tensorflow"
    package.mkdir()
    (package / "__init__.py").write_text("import os\nos.write(2, b'a library is missing')\nimport no_such")
    done = subprocess.run(
        [sys.executable, "-c", "import tlkeras, tensorflow"], capture_output=True, text=True, timeout=300,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "a library is missing" in done.stderr and "no_such" in done.stderr
