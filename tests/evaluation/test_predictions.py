"""Predictions: shapes per task, padding dropped, order kept, files safe."""

import csv
import json

import keras
import numpy as np
import pytest

from tlkeras.evaluation import (
    Predictions,
    escape_cell,
    predict_rows,
    write_confusion,
    write_csv,
    write_json_lines,
)


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_probabilities_per_task():
    multiclass = Predictions.from_logits([[1000.0, 0.0], [0.0, 0.0]], task="multiclass")
    np.testing.assert_allclose(multiclass.probabilities, [[1, 0], [0.5, 0.5]])
    binary = Predictions.from_logits([2.0, -3.0], task="binary", labels=[[1.0], [1.0]])
    np.testing.assert_allclose(binary.probabilities[:, 1], 1 / (1 + np.exp([-2.0, 3.0])))
    assert binary.predicted.tolist() == [1, 0] and binary.labels.tolist() == [1, 1]
    two = Predictions.from_logits([[0.0, 2.0], [0.0, -3.0]], task="binary")
    np.testing.assert_allclose(two.probabilities, binary.probabilities)
    multilabel = Predictions.from_logits([[2.0, -2.0]], task="multilabel")
    assert multilabel.predicted.tolist() == [[True, False]]
    regression = Predictions.from_logits([1.5], task="regression", labels=[2.0])
    assert regression.probabilities is None and regression.predicted.tolist() == [[1.5]]


def test_one_hot_and_sparse_labels_are_the_same():
    logits = np.eye(3)
    sparse = Predictions.from_logits(logits, task="multiclass", labels=[2, 0, 1])
    one_hot = Predictions.from_logits(logits, task="multiclass", labels=np.eye(3)[[2, 0, 1]])
    assert sparse.labels.tolist() == one_hot.labels.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"labels": [0, 3]}, r"0\.\.2.*Received: 0\.\.3"),
        ({"labels": [0]}, "fit each other"),
        ({"ids": ["a"]}, "1 ids"),
        ({"class_names": ["a", "b"]}, "2 class names"),
    ],
)
def test_what_does_not_fit_is_refused(bad, said):
    with pytest.raises(ValueError, match=said):
        Predictions.from_logits(np.zeros((2, 3)), task="multiclass", **bad)


def test_saved_predictions_come_back(tmp_path):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 2)).astype(np.float32)
    saved = Predictions.from_logits(
        logits, task="multiclass", labels=[0, 1, 1], ids=["a/ä.png", "b\udce9", ""], class_names="xy"
    )
    saved.save(tmp_path / "p.npz")
    loaded = Predictions.load(tmp_path / "p.npz")
    assert loaded.ids.tolist() == saved.ids.tolist() and loaded.class_names == ("x", "y")
    assert loaded.logits.tolist() == saved.logits.tolist() and loaded.task == "multiclass"
    assert loaded.labels.tolist() == [0, 1, 1]


@pytest.fixture(scope="module")
def model():
    inputs = keras.Input((4,))
    outputs = keras.layers.Dense(3, kernel_initializer="glorot_uniform")(inputs)
    return keras.Model(inputs, outputs)


def padded_batches(x, y, size):
    import tensorflow as tf

    pad = -len(x) % size
    weight = np.r_[np.ones(len(x)), np.zeros(pad)].astype("float32")
    x, y = np.r_[x, np.zeros((pad, 4), "float32")], np.r_[y, np.zeros(pad, "int32")]
    return tf.data.Dataset.from_tensor_slices((x, y, weight)).batch(size)


@pytest.mark.parametrize("given", [True, False])
def test_predict_rows_drops_padding_and_keeps_the_order(model, given):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 4)).astype("float32"), np.array([0, 1, 2, 0, 1, 2, 2], "int32")
    known = {"ids": [f"row:{i}" for i in range(7)], "labels": y} if given else {}
    got = predict_rows(model, padded_batches(x, y, 3), task="multiclass", **known)
    np.testing.assert_allclose(got.logits, np.asarray(model(x)), rtol=1e-5, atol=1e-6)
    assert got.labels.tolist() == y.tolist() and got.ids[6] == "row:6"


def test_predict_rows_takes_functions_and_nothing():
    x = np.arange(6.0).reshape(3, 2)
    got = predict_rows(lambda batch: batch * 2, [x[:2], x[2:]], task="multiclass")
    assert got.logits.tolist() == (x * 2).tolist() and got.labels is None
    assert len(predict_rows(lambda batch: batch, [], task="regression")) == 0


@pytest.mark.parametrize("text", ["=1+1", "+1", "-cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "＝1"])
def test_formulas_are_escaped(text, tmp_path):
    assert escape_cell(text) == "'" + text
    predictions = Predictions.from_logits(
        [[1.0, 0.0]], task="multiclass", labels=[1], ids=[text], class_names=[text, "ok"]
    )
    write_csv(predictions, tmp_path / "p.csv")
    assert read_csv(tmp_path / "p.csv")[1][:3] == ["'" + text, "ok", "'" + text]
    write_confusion(predictions, tmp_path / "c.csv")
    assert read_csv(tmp_path / "c.csv")[0] == ["label", "'" + text, "ok"]


def test_numbers_and_plain_text_are_left_alone():
    assert [escape_cell(value) for value in (-1.5, "a=b", "", None)] == [-1.5, "a=b", "", None]


def test_csv_per_task(tmp_path):
    path = tmp_path / "p.csv"
    named = Predictions.from_logits(
        [[0.0, 1.0]], task="multiclass", ids=["b/x, y.png"], class_names=["cat", "dog"]
    )
    write_csv(named, path)
    assert read_csv(path) == [["file", "prediction", "probability"], ["b/x, y.png", "dog", "0.731059"]]
    write_csv(Predictions.from_logits([-1.5], task="regression", labels=[2]), path)
    assert read_csv(path) == [["id", "label", "prediction", "probability"], ["row:0", "2.0", "-1.5", ""]]
    multilabel = Predictions.from_logits(
        [[9.0, -9.0, 0.0]], task="multilabel", labels=[[0, 1, 0]], class_names="abc"
    )
    write_csv(multilabel, path)
    assert read_csv(path)[1] == ["row:0", "b", "a|c", "0.999877|0.5"]


def test_json_lines(tmp_path):
    predictions = Predictions.from_logits(
        [[0.0, np.nan]], task="multiclass", ids=["caf\udce9.png"], class_names=["a", "b"]
    )
    write_json_lines(predictions, tmp_path / "p.jsonl")
    record = json.loads((tmp_path / "p.jsonl").read_text())
    assert record["file"] == "caf\udce9.png" and record["probabilities"] == {"a": None, "b": None}


def test_confusion_has_true_classes_in_rows(tmp_path):
    logits = np.eye(2)[[0, 1, 1]]
    predictions = Predictions.from_logits(logits, task="multiclass", labels=[0, 0, 1], class_names=["a", "b"])
    write_confusion(predictions, tmp_path / "c.csv")
    assert read_csv(tmp_path / "c.csv") == [["label", "a", "b"], ["a", "1", "1"], ["b", "0", "1"]]
