"""Exports of models that take sounds, alone and beside a text and columns: parity, and their clients."""

import dataclasses
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from modality_runs import BERT, RATE, SECONDS, write

from tlkeras import load_config, run_experiment
from tlkeras.data.sound_files import SoundSpec, read_windows
from tlkeras.export import FORMATS, ExportRefused, export_run
from tlkeras.publish.folder import write_folder

soundfile = pytest.importorskip("soundfile")
SPEC = SoundSpec(RATE, round(SECONDS * RATE))
NAMES = (
    "saved_model",
    "litert",
    "litert_float16",
    "onnx",
    "keras",
)  # int8 is too coarse for so small networks


@pytest.fixture(scope="module", params=["sound", "sound_text_columns"])
def finished(request, tmp_path_factory):
    """A finished run, and the folder of its rows."""
    folder = tmp_path_factory.mktemp(request.param)
    words = [f"cache.dir={folder}/cache"]
    if request.param == "sound":
        config = write("sound", folder / "rows")
    else:
        pytest.importorskip("tokenizers")
        config = write("sound_columns", folder / "rows")
        words += ["data.text=title", f"data.tokenizer={folder}/rows/vocab.txt", "data.max_length=8"]
        words.append(f"model.beside.text={json.dumps(BERT)}")
    return run_experiment(load_config(str(config), words), folder / "run"), folder / "rows"


@pytest.fixture(scope="module")
def exported(finished):
    for package in ("tf2onnx", "onnxruntime", "ai_edge_litert"):
        pytest.importorskip(package)
    return export_run(finished[0].path, NAMES, rows=16)


def test_every_format_answers_as_predict_does(finished, exported):
    assert set(exported) == set(NAMES)
    for name in NAMES:
        limit = 0.05 if name == "litert_float16" else 1e-4  # of the answers' spread, which is small
        assert exported[name].relative < limit and exported[name].agreement == 1, (name, exported[name])
        facts = json.loads((finished[0].path / "export" / name / "model.json").read_text())
        assert facts["sound"] == {"rate": RATE, "samples": SPEC.samples}


def test_the_clients_of_serve_md_give_the_answer_of_predict(finished, exported, capsys, monkeypatch):
    run, rows = finished
    sound, cells = str(rows / "0.wav"), {"age": 30, "city": "Lima"}  # one window
    if run.modality.name == "sound":
        words, expected = [sound], run.predict_files(sound)[0]
    else:
        text = "plain good"
        words = [sound, text, json.dumps(cells)]
        expected = run.predict({"sound": [sound], "text": [text], "columns": [cells]})
    monkeypatch.chdir(run.path / "export")
    monkeypatch.syspath_prepend(str(run.path / "export"))
    for module in ("read_sound", "read_text", "read_columns"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(sys, "argv", ["client.py", *words])
    clients = re.findall(r"```python\n(.*?)```", Path("serve.md").read_text(), re.S)
    assert len(clients) == len(NAMES)
    for client in clients:
        exec(client, {})
        said = capsys.readouterr().out
        assert f"{expected.probabilities.max():.4f}"[:5] in said


@pytest.mark.parametrize(
    ("seconds", "rate"), [(0.1, RATE), (0.3, RATE), (0.4, 44_100), (1.07, RATE), (1.0, 6_000)]
)
def test_the_reader_of_an_export_makes_the_windows_of_predict(finished, exported, tmp_path, seconds, rate):
    path = str(tmp_path / "a.wav")
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (round(seconds * rate), 2))
    soundfile.write(path, samples, rate, subtype="FLOAT")
    names: dict = {}
    exec((finished[0].path / "export" / "read_sound.py").read_text(), names)
    np.testing.assert_allclose(names["read_sound"](path), read_windows(path, SPEC), atol=1e-6)
    soundfile.write(path, 0 * samples, rate)
    silence = names["read_sound"](path)
    assert silence.any(axis=1).all() and silence.max() < 1e-20
    for refused in (samples[:0], samples + np.nan):
        soundfile.write(path, refused, rate, subtype="FLOAT")
        with pytest.raises(ValueError, match=r"a\.wav has no samples"):
            names["read_sound"](path)


def test_the_card_of_a_published_run_reads_its_sounds(finished, tmp_path, monkeypatch):
    run, rows = finished
    card = write_folder(run.path, tmp_path / "published")
    text = card.read_text("utf-8")
    code = text.partition("```python\n")[2].partition("```")[0].replace("SOUND.wav", str(rows / "0.wav"))
    monkeypatch.chdir(card.parent)
    monkeypatch.syspath_prepend(str(card.parent))
    for module in ("read_sound", "read_text", "read_columns"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    names: dict = {}
    exec(code, names)
    if run.modality.name == "sound":
        expected, _ = run.predict_files(rows / "0.wav")
    else:
        cells = json.loads(re.search(r"read_columns\((.*?)\)", code)[1])
        columns = run.modality.parts["columns"].columns
        assert cells["city"] == columns["city"].values[0]
        assert cells["age"] == pytest.approx(columns["age"].mean, rel=0.01)
        expected = run.predict({"sound": [str(rows / "0.wav")], "text": ["A text."], "columns": [cells]})
    np.testing.assert_allclose(names["probabilities"], expected.probabilities, atol=1e-5)
    assert "SciPy and soundfile" in text


def test_an_export_that_does_not_hear_is_refused(finished, exported, monkeypatch):
    name = "saved_model"
    run, row = finished[0], FORMATS.get(name)

    def load(folder):
        answer = row.load(folder)
        deaf = lambda x: x | {"sound": 0 * x["sound"]} if isinstance(x, dict) else 0 * x  # noqa: E731
        return lambda x: answer(deaf(x))

    monkeypatch.setitem(FORMATS._entries, name, dataclasses.replace(row, load=load))
    before = sorted((run.path / "export" / name).rglob("*"))
    with pytest.raises(ExportRefused, match=f"The {name} export is refused"):
        export_run(run.path, [name], rows=16)
    assert sorted((run.path / "export" / name).rglob("*")) == before
