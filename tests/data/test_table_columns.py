"""Columns of a table: fitted to the training rows, alone and beside pictures, predicted from lists."""

import csv
import json
import re
import sys
from pathlib import Path

import keras
import numpy as np
import pandas
import pytest
from PIL import Image

from tlkeras import load_config, load_run, run_experiment
from tlkeras.cli.main import main
from tlkeras.config.columns import ColumnConfig
from tlkeras.data.modalities.columns import Columns
from tlkeras.data.rows import Rows, row_ids
from tlkeras.errors import UserError
from tlkeras.export import export_run
from tlkeras.export.row_readers import row_readers
from tlkeras.models.column_values import column_values, width_of
from tlkeras.prepare import inspect_data

SIDE = 8


def fitted(cells, **columns):
    cells = np.array(cells, object)
    made = Columns({name: ColumnConfig(kind=kind) for name, kind in columns.items()})
    made = made.fitted(Rows(cells, None, row_ids(len(cells))))
    return made, made.encoded(cells, None)


def test_kinds_and_facts_come_from_the_training_rows():
    found, x = fitted(
        [("1", "Rome", "7"), ("3", "", "9"), ("NA", "Oslo", "7.0")], a="auto", b="auto", c="category"
    )
    a, b, c = found.columns.values()
    assert (a.kind, a.mean, a.deviation, a.flag) == ("number", 2.0, 1.0, True)
    assert (b.kind, b.values, b.flag) == ("category", ("Oslo", "Rome"), True)
    assert (c.values, c.flag) == (("7", "9"), False)
    np.testing.assert_array_equal(x, [[1, 1, 0], [3, np.nan, 1], [np.nan, 0, 0]])
    np.testing.assert_array_equal(found.encoded(np.array([("5", "Paris", "8")], object), None), [[5, -1, -1]])


def test_the_network_gets_standardised_numbers_and_zeros_for_what_is_unknown():
    found, x = fitted([("1", "Rome"), ("3", ""), ("", "Oslo")], a="auto", b="auto")
    inputs = keras.Input((2,))
    values = keras.Model(inputs, column_values(inputs, found.columns))
    assert values.output_shape == (None, width_of(found.columns)) == (None, 5)
    wanted = [[-1, 0, 1, 0, 0], [1, 0, 0, 0, 1], [0, 1, 0, 1, 0], [3, 0, 0, 0, 0]]
    np.testing.assert_allclose(values(np.vstack([x, [[5, -1]]])), wanted, atol=1e-6)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures that are bright or dark, ages and cities; bright pictures of old people are of class yes."""
    folder, rng = tmp_path_factory.mktemp("rows"), np.random.default_rng(0)
    rows = [("photo", "age", "city", "label")]
    for i in range(96):
        bright, age = rng.integers(2), rng.normal(40, 10)
        picture = (rng.integers(1, 90, (SIDE, SIDE, 3)) + 150 * bright).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{i}.png")
        answer = "yes" if bright and age > 40 else "no"
        rows.append((f"{i}.png" if i % 9 else "", f"{age:.1f}" if i % 7 != 3 else "", "Rome", answer))
    with open(folder / "rows.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def config(place, *words, **model):
    data = {"source": f"csv:{place}/rows.csv", "picture": "photo", "columns": ["age", "city"],
            "image_size": SIDE, "batch_size": 16}  # fmt: skip
    beside = {"columns": {"backbone": "mlp", "backbone_options": {"units": [8]}}}
    network = {"backbone": "small_cnn", "weights": None, "backbone_options": {"filters": [4, 8]}}
    stages = [{"name": "head", "train": "head", "epochs": 1},
              {"name": "all", "train": "all", "epochs": 6, "optimizer": {"learning_rate": 0.02}}]  # fmt: skip
    tree = {"name": "rows", "data": data, "model": {**network, "beside": beside, **model}, "stages": stages}
    return load_config(tree, [f"cache.dir={place}/cache", *words])


@pytest.fixture(scope="module")
def finished(place):
    return run_experiment(config(place), place / "run")


def test_columns_beside_pictures_are_learned_and_kept(finished, place):
    facts = json.loads((finished.path / "columns.json").read_text())
    assert facts["age"]["kind"] == "number" and facts["age"]["flag"] and facts["city"]["values"] == ["Rome"]
    rng = np.random.default_rng(1)
    bright = rng.integers(2, size=40)
    pictures = (rng.integers(1, 90, (40, SIDE, SIDE, 3)) + 150 * bright[:, None, None, None]).astype(np.uint8)
    age = rng.choice([25.0, 55.0], 40)
    answers = finished.predict({"image": pictures, "columns": {"age": age, "city": ["Rome"] * 40}})
    says_yes = np.array(answers.class_names)[answers.predicted] == "yes"
    assert (says_yes == ((bright == 1) & (age > 40))).mean() > 0.8
    assert finished.evaluate()["source"] == finished.metrics["source"]


def test_a_stage_of_the_head_trains_the_random_network_of_the_columns(finished):
    chosen = json.loads((finished.path / "manifest.json").read_text())["modality"]
    assert chosen == "image_columns"
    events = [json.loads(line) for line in (finished.path / "ledger.jsonl").read_text().splitlines()]
    assert next(e for e in events if e["event"] == "completed")["extraction_seconds"] > 0


def test_the_saved_model_takes_raw_values_with_keras_alone(finished):
    model = keras.models.load_model(finished.path / "best.keras", compile=False)
    x = {"image": np.full((3, SIDE, SIDE, 3), 200, np.float32),
         "columns": np.array([[40, 0], [np.nan, 0], [40, -1]], np.float32)}  # fmt: skip
    given = {"image": x["image"].astype(np.uint8),
             "columns": {"age": [40, None, 40], "city": ["Rome", "Rome", "Lima"]}}  # fmt: skip
    found = finished.predict(given).logits * finished.temperature
    np.testing.assert_allclose(model.predict(x, verbose=0), found, atol=1e-5)
    assert np.isfinite(found).all() and len(np.unique(found[:, 0])) == 3


def test_the_client_of_an_export_reads_pictures_and_columns(finished, place, capsys, monkeypatch):
    compared = export_run(finished.path, ["saved_model", "onnx", "keras"], rows=8)
    cells = {"age": 30, "city": "Lima"}
    answers = finished.predict({"image": [f"{place}/1.png"], "columns": [cells]})
    monkeypatch.chdir(finished.path / "export")
    monkeypatch.syspath_prepend(str(finished.path / "export"))
    for module in ("preprocess", "read_columns"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(sys, "argv", ["client.py", f"{place}/1.png", json.dumps(cells)])
    clients = re.findall(r"```python\n(.*?)```", Path("serve.md").read_text(), re.S)
    assert len(clients) == len(compared)
    for client in clients:
        exec(client, {})
        said = capsys.readouterr().out
        assert f"{answers.probabilities.max():.4f}"[:5] in said


def test_the_reader_of_an_export_reads_cells_as_the_run_does(finished):
    reader = row_readers(str(finished.path), (2,), None, finished.modality.files, None)["read_columns.py"]
    names = {"__file__": str(finished.path / "read_columns.py")}
    exec(reader, names)
    columns = finished.modality.parts["columns"]
    for row in (
        {"age": "40.5", "city": "Rome"},
        {"city": " Rome ", "age": None, "name": "Ann"},
        {"age": pandas.NA, "city": "3.0"},
        {"age": "NaN", "city": float("nan")},
    ):
        expected = columns.inputs_like_training([row], None, None)
        np.testing.assert_array_equal(names["read_columns"](row), expected)
    for row, named in (
        ({"city": "Rome"}, "needs a column 'age'.* Received: city"),
        ({}, "needs a column 'age'.* Received: nothing"),
        ({"age": "old", "city": "Rome"}, "The column 'age' holds numbers.* Received: 'old'"),
        ({"age": 1e39, "city": "Rome"}, "The column 'age' holds numbers.* Received: '1e\\+39'"),
    ):
        with pytest.raises(ValueError, match=named):
            names["read_columns"](row)
        with pytest.raises(UserError, match=named):
            columns.inputs_like_training([row] if row else {}, None, None)


def test_predict_reads_a_list_with_missing_parts_and_names_what_is_unreadable(
    finished, place, tmp_path, capsys
):
    rows = [("city", "age", "photo"), ("Rome", "55", f"{place}/1.png"), ("", "", f"{place}/2.png"),
            ("Lima", "25", ""), ("Rome", "1", "gone.png")]  # fmt: skip
    with open(tmp_path / "new.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    main(["predict", str(finished.path), str(tmp_path / "new.csv"), "--format=jsonl"])
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [line["id"] for line in lines] == ["line:2", "line:3", "line:4"]
    assert "line:5: cannot be opened" in said.err
    paths = [f"{place}/1.png", f"{place}/2.png", None]
    cells = {"age": ["55", None, 25], "city": ["Rome", "", "Lima"]}
    answers = finished.predict({"image": paths, "columns": cells})
    np.testing.assert_allclose(
        [line["probability"] for line in lines], answers.probabilities.max(1), atol=1e-5
    )
    assert len(finished.predict({"columns": cells}).ids) == 3


def test_inspect_shows_each_column(place):
    facts = inspect_data(config(place))["source"].to_dict()["facts"]["train"]
    assert {"without a picture", "column age", "column city"} <= set(facts)


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("data.columns=age,citty", r"needs a column 'citty'.*Did you mean 'city'"),
        ("data.columns=age,label", "inputs of the network: leave out label"),
        ("data.columns.city=number", r"column 'city' holds numbers.*Received: 'Rome'"),
        ("data.columns.city=categry", "Did you mean 'category'"),
        ("model.beside={}", "set model.beside.columns.backbone"),
        ('verdict.twins=["text_alone"]', "rows have image and columns"),
        ("data.leave_out=text", "part of the rows in data.leave_out"),
        ("data.seconds=1", "Unreadable sounds with columns"),
        ("stages.0.train=column=all", "part in train.*column"),
    ],
)
def test_mistakes_are_named(place, tmp_path, word, named):
    with pytest.raises(UserError, match=named):
        run_experiment(config(place, word), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"columns": {"age": [1]}}, "needs a column 'city'"),
        ({"columns": {"age": [1], "city": ["Rome", "Oslo"]}}, "same number of values"),
        ({"columns": {"age": ["old"], "city": ["Rome"]}}, "holds numbers.*Received: 'old'"),
        ({"image": [None], "columns": {"age": [1, 2], "city": ["a", "b"]}}, "same number of rows"),
        ({"picture": [None]}, "dict of image and columns. Received: picture"),
    ],
)
def test_rows_of_another_form_are_refused(finished, given, named):
    with pytest.raises(UserError, match=named):
        finished.predict(given)


@pytest.mark.usefixtures("without_report")
def test_columns_alone_need_no_backbone(place, tmp_path):
    words = ["data.picture=none", "model.backbone=none", "model.beside={}", "model.backbone_options={}"]
    run = run_experiment(config(place, *words, "stages.1.epochs=1"), tmp_path / "run")
    assert run.modality.name == "columns"
    again = load_run(run.path).predict([{"age": 30, "city": "Rome"}, {"age": None, "city": None}])
    assert again.probabilities.shape == (2, 2)
