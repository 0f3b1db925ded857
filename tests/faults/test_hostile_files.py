"""Files made to do harm: none runs code, none writes outside its folder, none becomes markup or a formula."""

import csv
import io
import json
import os
import pickle
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import keras
import numpy as np
import pytest
from bad_pictures import encoded, picture
from fault_words import settings, train

import tlkeras
from tlkeras.cli.main import main
from tlkeras.config import load_config
from tlkeras.errors import UserError
from tlkeras.models import build_model
from tlkeras.models.weights.torch_files import read_tensors
from tlkeras.runs.model_file import load_model


@pytest.fixture
def mark(tmp_path):
    """A file that hostile code would make."""
    path = tmp_path / "was_here"
    yield path
    assert not path.exists(), "code in a file was run"


def lambda_model(path, mark):
    """Saves a model whose Lambda layer writes `mark` when it is called, or loaded."""
    code = f"lambda x: (__import__('pathlib').Path({str(mark)!r}).touch(), x)[1]"
    inputs = keras.Input((4,))
    keras.Model(inputs, keras.layers.Lambda(eval(code))(inputs)).save(path)
    mark.unlink(missing_ok=True)


def test_keras_file_with_code(mark, tmp_path):
    (tmp_path / "run").mkdir()
    lambda_model(tmp_path / "run/best.keras", mark)
    with pytest.raises(UserError, match=r"best\.keras"):
        load_model(tmp_path / "run/best.keras")
    config = load_config("synthetic_smoke", [f"model.weights={tmp_path / 'run'}"]).model
    with pytest.raises(UserError):
        build_model(config, input_shape=(32, 32, 3), num_outputs=4)


def test_keras_file_that_names_a_function(mark, tmp_path):
    """A config inside the archive asks for a function of another module."""
    path = tmp_path / "model.keras"
    inputs = keras.Input((4,))
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    config["config"]["layers"][1] |= {"module": "subprocess", "class_name": "Popen", "registered_name": None}
    config["config"]["layers"][1]["config"] = {"args": ["touch", str(mark)]}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, json.dumps(config) if name == "config.json" else content)
    with pytest.raises(UserError):
        load_model(path)


class Harm:
    """Pickles to a call."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize("as_zip", [False, True])
def test_pth_file_with_code(mark, tmp_path, as_zip):
    path = tmp_path / "weights.pth"
    content = pickle.dumps(Harm(mark), protocol=2)
    if as_zip:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
    else:
        path.write_bytes(content)
    with pytest.raises(UserError):
        read_tensors(path)


def test_npz_file_with_code(mark, tmp_path, capsys):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.array([Harm(mark)] * 4, object), y=np.arange(4), allow_pickle=True)
    code = main(["train", "--config=synthetic_full", *settings(f"data.source=npz:{path}")])
    assert code == 2 and "Traceback" not in capsys.readouterr().err


def test_downloads_are_verified(tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"something else")
    with pytest.raises(UserError, match="not the file that was published"):
        read_tensors(tmp_path / "weights.pth", sha256="0" * 64)


def test_nothing_of_the_package_unpacks_archives():
    """Archives are read member by member, in memory; there is no path to escape from."""
    for file in Path(tlkeras.__file__).parent.rglob("*.py"):
        text = file.read_text()
        calls = [
            "extractall(",
            "unpack_archive(",
            "pickle.load(",
            "allow_pickle=True",
            "yaml.load(",
            " eval(",
            " exec(",
        ]
        if "zipfile" in text or "tarfile" in text:
            calls.append(".extract(")
        assert not (found := [call for call in calls if call in text]), f"{file}: {found}"


def test_config_values_are_data(mark, tmp_path, capsys):
    evil = f"__import__('os').system('touch {mark}')"
    for path in ("seed", "data.batch_size", "stages.0.train", "model.backbone"):
        assert main(["plan", "--config=synthetic_full", "--set", f"{path}={evil}"]) == 2
    (tmp_path / "evil.json").write_text(json.dumps({"name": evil, "seed": evil}))
    assert main(["plan", f"--config={tmp_path / 'evil.json'}"]) == 2
    (tmp_path / "evil.json").write_text(f"print({evil})")
    assert main(["plan", f"--config={tmp_path / 'evil.json'}"]) == 2
    capsys.readouterr()


HOSTILE_CLASSES = [
    "=HYPERLINK(1)",
    "<script>alert(1)<\u2215script>",
    "<img src=x onerror=alert(1)>",
    "line\nfeed",
    "@SUM(1)",
]


class Tags(HTMLParser):
    """Collects what a browser would take for markup."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def hostile_run(server, tmp_path_factory):
    """A finished run on classes and files with hostile names."""
    folder = tmp_path_factory.mktemp("hostile")
    for i, name in enumerate(HOSTILE_CLASSES):
        (folder / "data" / name).mkdir(parents=True)
        for j in range(24):
            file = f"=1+{j}.png" if j % 2 else f"<svg onload=alert({j})>.png"
            (folder / "data" / name / file).write_bytes(encoded(picture(100 * i + j), "PNG"))
    more = settings(f"data.source=folder:{folder / 'data'}", "data.limit=none", "stages.0.epochs=1")
    ended = server.run(*train(folder, *more))
    assert ended.code == 0, ended.output
    return folder / "run"


def test_names_are_no_markup_in_the_report(hostile_run):
    page, tags = (hostile_run / "report.html").read_text(), Tags()
    tags.feed(page)
    assert "alert(1)" in page, "the names stand on the page"
    for tag, attributes in tags.found:
        assert tag != "img" or attributes["src"].startswith(("data:", "evaluation")), attributes
        assert not any(key.startswith("on") for key in attributes), attributes
    assert "<script>alert" not in page


def test_names_are_no_formulas_in_csv(hostile_run):
    for file in hostile_run.rglob("*.csv"):
        for row in csv.reader(io.StringIO(file.read_text())):
            for cell in row:
                harmless = not cell.startswith(("=", "+", "-", "@", "\t")) or _is_number(cell)
                assert harmless, (file, cell)


def test_names_are_escaped_in_tensorboard(hostile_run):
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    seen = b""
    for file in (hostile_run / "tensorboard").rglob("events.*"):
        for record in RawEventFileLoader(str(file)).Load():
            for value in Event.FromString(record).summary.value:
                if value.metadata.plugin_data.plugin_name == "text":
                    seen += b" ".join(value.tensor.string_val)
    assert b"<script>" not in seen and b"<img" not in seen and b"<svg" not in seen


def test_nothing_was_written_elsewhere(hostile_run):
    assert {p.name for p in hostile_run.parent.iterdir()} <= {"data", "run", "cache"}


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
