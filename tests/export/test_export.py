import dataclasses
import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ends_at_once import AT_ONCE
from variants import all_but, further

from tlkeras import run_experiment
from tlkeras.cli.main import main
from tlkeras.config import ExperimentConfig
from tlkeras.data import preprocess
from tlkeras.errors import UserError
from tlkeras.export import FORMATS, ExportRefused, export_run
from tlkeras.export.formats import load_encoded
from tlkeras.export.odd_pictures import odd_pictures
from tlkeras.runs.saved_run import load_run

pytestmark = pytest.mark.usefixtures("without_reports")

PLAIN = [name for name in FORMATS.names() if name != "onnx"]
ALL = FORMATS.names()


@pytest.fixture(scope="module")
def exported(finished_run):
    """The run with every format exported, and how each compares."""
    for package in ("tf2onnx", "onnxruntime", "ai_edge_litert"):
        pytest.importorskip(package)
    return finished_run, export_run(finished_run, ALL)


@pytest.fixture
def copied_run(finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path / "run", ignore=shutil.ignore_patterns("export"))
    return tmp_path / "run"


def test_every_format_answers_as_predict_does(exported):
    _, compared = exported
    assert set(compared) == set(ALL)
    for name in ("saved_model", "litert", "onnx", "keras"):
        assert compared[name].relative < 1e-4 and compared[name].agreement == 1
    assert 0 < compared["litert_float16"].relative < 2e-2
    assert compared["litert_int8"].relative > 0 and abs(compared["litert_int8"].accuracy_drop) <= 0.03


def test_labels_sizes_and_preprocessing_lie_beside_each_model(exported):
    path, compared = exported
    names = load_run(path).class_names
    for name in ALL:
        folder = path / "export" / name
        facts = json.loads((folder / "model.json").read_text())
        assert (folder / "labels.txt").read_text().split() == list(names) == facts["labels"]
        assert facts["input"]["shape"] == [None, 32, 32, 3]
        assert facts["parity"]["relative"] == compared[name].relative
    assert list(path.rglob("*.tmp*")) == []


def test_quantised_models_are_smaller(exported):
    path, _ = exported
    size = {n: (path / "export" / n / "model.tflite").stat().st_size for n in ALL if "litert" in n}
    assert size["litert_int8"] < size["litert_float16"] < size["litert"]


def test_saved_model_takes_encoded_images_and_names_the_label(exported, tmp_path):
    path, _ = exported
    image = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)
    file = tmp_path / "a.png"
    file.write_bytes(tf.io.encode_png(image).numpy())
    predicted = load_run(path).predict_files([file])[0]
    signature = tf.saved_model.load(str(path / "export" / "saved_model")).signatures["encoded"]
    answers = signature(encoded_images=tf.constant([file.read_bytes()]))
    np.testing.assert_allclose(answers["probabilities"], predicted.probabilities, atol=1e-5)
    assert answers["label"].numpy()[0].decode() == predicted.class_names[predicted.predicted[0]]


def test_keras_file_holds_layers_of_keras_only(exported):
    path, _ = exported
    model = keras.models.load_model(path / "export" / "keras" / "model.keras", safe_mode=True)
    assert {type(layer).__module__.partition(".")[0] for layer in model.layers} == {"keras"}
    assert model.output_shape == (None, 4)


def test_clients_of_serve_md_run(exported, tmp_path, capsys, monkeypatch):
    path, _ = exported
    (tmp_path / "a.png").write_bytes(tf.io.encode_png(np.full((40, 40, 3), 9, np.uint8)).numpy())
    clients = re.findall(r"```python\n(.*?)```", (path / "export" / "serve.md").read_text(), re.S)
    assert len(clients) == len(ALL)
    names = load_run(path).class_names
    shutil.copytree(path / "export", tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")  # as a script's own folder is
    monkeypatch.delitem(sys.modules, "preprocess", raising=False)
    monkeypatch.setattr(sys, "argv", ["client.py", str(tmp_path / "a.png")])
    for client in clients:
        assert len(client.strip().splitlines()) <= 10
        Path("client.py").write_text(client)
        runpy.run_path("client.py")
        printed = capsys.readouterr().out
        assert any(name in printed for name in names)


_ASK = """
import sys
sys.modules.update(dict.fromkeys(["tlkeras", "tensorflow", "keras"]))  # none can be imported
from pathlib import Path
import numpy as np, onnxruntime
from ai_edge_litert.interpreter import Interpreter
from preprocess import read_picture

pictures = [read_picture(path)[None] for path in sorted(Path(sys.argv[1]).iterdir())]
lite = Interpreter(model_path="litert/model.tflite").get_signature_runner()
onnx = onnxruntime.InferenceSession("onnx/model.onnx")
answers = [onnx.run(None, {"images": x})[0][0] for x in pictures]
np.savez(sys.argv[2], onnx=answers, litert=[lite(images=x)["probabilities"][0] for x in pictures])
"""


@pytest.mark.parametrize("mode", ["crop", further("pad")])
def test_odd_pictures_get_the_answers_of_predict_without_tensorflow(tmp_path, experiment, mode):
    for package in ("tf2onnx", "onnxruntime", "ai_edge_litert"):
        pytest.importorskip(package)
    run = run_experiment(experiment(resize=mode, crop_fraction=0.8), tmp_path / "run")
    export_run(run, ["onnx", "litert", "saved_model"], rows=16)
    (tmp_path / "pictures").mkdir()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (9, 8, 8, 3)).repeat(4, 1).repeat(4, 2)
    for number, (_, content) in enumerate(odd_pictures(images, 24)):
        (tmp_path / "pictures" / f"{number:02d}").write_bytes(content)
    words = [str(tmp_path / "pictures"), str(tmp_path / "answers.npz")]
    subprocess.run([sys.executable, "-c", AT_ONCE + _ASK, *words], check=True, cwd=run.path / "export")
    contents = [path.read_bytes() for path in sorted((tmp_path / "pictures").iterdir())]
    expected = run.predict_files([tmp_path / "pictures" / f"{i:02d}" for i in range(24)])[0]
    encoded = load_encoded(run.path / "export" / "saved_model")(contents)
    answers = {"encoded": encoded, **np.load(tmp_path / "answers.npz")}
    for name, said in answers.items():
        np.testing.assert_allclose(said, expected.probabilities, atol=1e-4, err_msg=name)


def test_the_client_of_serve_md_gives_the_label_of_predict(tmp_path, experiment, capsys, monkeypatch):
    run = run_experiment(experiment(resize="pad"), tmp_path / "run")
    export_run(run, ["keras"], rows=16)
    client = re.search(r"```python\n(.*?)```", (run.path / "export" / "serve.md").read_text(), re.S)[1]
    monkeypatch.chdir(run.path / "export")
    monkeypatch.syspath_prepend(run.path / "export")
    monkeypatch.delitem(sys.modules, "preprocess", raising=False)
    capsys.readouterr()
    images = np.random.default_rng(1).integers(0, 256, (9, 8, 8, 3)).repeat(4, 1).repeat(4, 2)
    for name, content in odd_pictures(images):
        (tmp_path / "a").write_bytes(content)
        predicted = run.predict_files([tmp_path / "a"])[0]
        monkeypatch.setattr(sys, "argv", ["client.py", str(tmp_path / "a")])
        exec(client, {})
        label, probability = capsys.readouterr().out.rsplit(maxsplit=1)
        assert label == predicted.class_names[predicted.predicted[0]], name
        assert float(probability) == pytest.approx(predicted.probabilities.max(), abs=1e-4), name


def test_an_export_whose_preprocess_reads_otherwise_is_refused(copied_run, monkeypatch):
    source = Path(preprocess.__file__)
    changed = source.read_text().replace("image = ImageOps.exif_transpose(image)", "")
    (copied_run.parent / "changed.py").write_text(changed)
    monkeypatch.setattr(preprocess, "__file__", str(copied_run.parent / "changed.py"))
    with pytest.raises(ExportRefused, match=r"keras \(odd pictures by preprocess\.py\) export is refused"):
        export_run(copied_run, ["keras"], rows=16)
    assert not (copied_run / "export").exists()


def _breaking(monkeypatch, name, change):
    """Makes a format write a changed model."""
    row = FORMATS.get(name)

    def write(served, folder):
        row.write(dataclasses.replace(served, model=change(served.model)), folder)

    monkeypatch.setitem(FORMATS._entries, name, dataclasses.replace(row, write=write))


def _without_scaling(model):
    inputs = keras.Input(model.input_shape[1:])
    return keras.Model(inputs, model(inputs / 255))


def _with_swapped_classes(model):
    inputs = keras.Input(model.input_shape[1:])
    return keras.Model(inputs, keras.ops.flip(model(inputs), axis=-1))


@pytest.mark.parametrize("name", all_but(["saved_model", "litert_int8"], PLAIN))
@pytest.mark.parametrize("change", [_without_scaling, further(_with_swapped_classes)])
def test_a_broken_export_is_refused_and_leaves_nothing(copied_run, monkeypatch, name, change):
    _breaking(monkeypatch, name, change)
    with pytest.raises(ExportRefused, match=f"The {name} export is refused"):
        export_run(copied_run, [name], rows=48)
    assert not (copied_run / "export").exists()


def test_a_refused_export_keeps_the_earlier_one_and_the_other_formats(copied_run, monkeypatch, capsys):
    export_run(copied_run, ["keras"], rows=16)
    before = (copied_run / "export" / "keras" / "model.keras").read_bytes()
    _breaking(monkeypatch, "keras", _with_swapped_classes)
    assert main(["export", str(copied_run), "--format=keras,saved_model", "--rows=16"]) == 1
    assert "keras export is refused" in capsys.readouterr().err
    assert (copied_run / "export" / "keras" / "model.keras").read_bytes() == before
    assert (copied_run / "export" / "saved_model" / "saved_model.pb").is_file()


def test_a_converter_that_fails_is_a_refusal(copied_run, monkeypatch):
    def write(served, folder):
        (folder / "half").write_text("x")
        raise RuntimeError("no kernel")

    row = dataclasses.replace(FORMATS.get("keras"), write=write)
    monkeypatch.setitem(FORMATS._entries, "keras", row)
    with pytest.raises(ExportRefused, match="RuntimeError: no kernel"):
        export_run(copied_run, ["keras"], rows=4)
    assert not (copied_run / "export").exists()


def test_mistakes_are_one_line(copied_run, capsys):
    assert main(["export", str(copied_run), "--format=tflit"]) == 2
    assert "Did you mean 'litert'" in capsys.readouterr().err
    assert main(["export", str(copied_run / "nowhere")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert not (copied_run / "export").exists()


def _vectors(task, outputs):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 6)).astype(np.float32)
    score = x @ rng.normal(size=(6, outputs)).astype(np.float32)
    labels = {
        "binary": (score[:, 0] > 0).astype(int),
        "multilabel": (score > 0).astype(np.float32),
        "regression": score,
    }
    return {"train": (x, labels[task])}


@pytest.mark.parametrize(
    ("task", "outputs", "width"), [("binary", 1, 2), ("multilabel", 3, 3), ("regression", 2, 2)]
)
def test_vectors_and_other_tasks(tmp_path, task, outputs, width):
    data = _vectors(task, outputs)
    config = ExperimentConfig(
        data={"source": "digits", "task": task},
        model={"backbone": "mlp", "weights": None, "backbone_options": {"units": [8]}},
        stages=[{"name": "all", "train": "all", "epochs": 1}],
    )
    run = run_experiment(config, tmp_path / "run", data)
    compared = export_run(run, ["saved_model", "litert", "keras"], data=data)
    assert all(parity.relative < 1e-3 for parity in compared.values())
    model = keras.models.load_model(tmp_path / "run" / "export" / "keras" / "model.keras")
    answers = model.predict(data["train"][0][:5], verbose=0)
    predictions = run.predict(data["train"][0][:5])
    expected = predictions.logits if task == "regression" else predictions.probabilities
    assert answers.shape == (5, width)
    np.testing.assert_allclose(answers, expected, rtol=1e-4, atol=1e-6)
    assert "spread" not in (tmp_path / "run" / "export" / "serve.md").read_text()


def test_other_data_than_the_runs_are_refused(copied_run):
    rng = np.random.default_rng(0)
    data = {"train": (rng.integers(0, 255, (40, 32, 32, 3), np.uint8), np.arange(40) % 3)}
    with pytest.raises(UserError, match="differ from those of the run"):
        export_run(copied_run, ["keras"], data=data)
