"""A finished run that is adapted to unlabelled rows, without its source data."""

import functools
import hashlib
import json
import shutil

import keras
import numpy as np
import pytest

import tlkeras
from tlkeras import load_config, load_run, run_experiment
from tlkeras.cli.main import main
from tlkeras.errors import UserError
from tlkeras.evaluation import Predictions
from tlkeras.evaluation.log_loss import row_losses
from tlkeras.methods.adapt.domain_statistics import batch_norm_layers
from tlkeras.methods.adapt.source_free import WAYS, Shot, TargetRows, pseudo_labels
from tlkeras.models.cuts.graph import inputs_of

pytestmark = pytest.mark.usefixtures("without_reports")

TARGET = "synthetic:blobs?n=60&shift=0.6,-0.6"


def config(*words):
    options = {"units": [8], "batch_norm": True}
    return load_config(
        {
            "name": "blobs",
            "data": {"source": "synthetic:blobs?n=60&shift=0,0", "batch_size": 16},
            "model": {"backbone": "mlp", "weights": None, "backbone_options": options},
            "stages": [{"name": "all", "train": "all", "bn": "train", "steps": 40}],
        },
        ["stages.0.optimizer.learning_rate=0.02", *words],
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return run_experiment(config(), tmp_path_factory.mktemp("source") / "run").path


@pytest.fixture(scope="module")
def adapted(source):
    """Adapts the run by a method, once for all tests."""
    return functools.cache(
        lambda method: tlkeras.adapt(source, TARGET, method, **({} if method == "adabn" else {"epochs": 2}))
    )


def digests(folder) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def changed(before: keras.Model, after: keras.Model) -> set[str]:
    """Returns the paths of the weights that differ."""
    pairs = zip(before.weights, after.weights, strict=True)
    return {b.path for b, a in pairs if not np.array_equal(b.numpy(), a.numpy())}


@pytest.mark.parametrize("method", ["adabn", "tent", "shot"])
def test_each_method_changes_what_its_paper_changes(source, adapted, method):
    before = digests(source)
    run = adapted(method)
    assert digests(source) == before
    moved = {path.rpartition("/")[2] for path in changed(load_run(source).model, run.model)}
    statistics = {"moving_mean", "moving_variance"}
    assert moved == {"adabn": statistics, "tent": statistics | {"gamma", "beta"}}.get(
        method, statistics | {"gamma", "beta", "kernel", "bias"}
    )
    heads = [model.layers[-1].get_weights() for model in (load_run(source).model, run.model)]
    for ours, theirs in zip(*heads, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # the statistics are those of the target's training rows
    domain = run.domains()["target"]
    layer = batch_norm_layers(run.model)[0]
    rows = np.asarray(domain.splits["train"].inputs, np.float32)
    inputs = keras.Model(inputs_of(run.model), layer.input).predict(rows, verbose=0)
    np.testing.assert_allclose(layer.moving_mean, np.mean(inputs, axis=0), atol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, np.var(inputs, axis=0), rtol=1e-5)


def test_the_new_run_is_evaluated_predicted_exported_and_reported_without_its_source(
    source, tmp_path, caplog
):
    there = tmp_path / "alone"
    shutil.copytree(source, there)
    written = json.loads((there / "config.json").read_text("utf-8"))
    written["data"]["source"] = "folder:" + str(tmp_path / "no_such_folder")
    (there / "config.json").write_text(json.dumps(written), "utf-8")
    run = tlkeras.adapt(there, TARGET)
    assert run.path == tmp_path / "alone_adabn"
    assert set(run.metrics) == {"target"}
    assert run.evaluate() == run.metrics
    verdict = run.verdict
    assert verdict["run"] == pytest.approx(run.metrics["target"]["test"]["accuracy"])
    assert verdict["twin_name"] == "unadapted run"
    assert set(verdict["information_maximization"]) == {"run", "twin"}
    found = Predictions.load(run.path / "evaluation/target/predictions_test.npz")
    assert verdict["log_loss"]["run"] == pytest.approx(row_losses(found, 1.0).mean())
    assert not verdict["log_loss"]["calibrated"]  # the adapted run has no labelled validation rows
    assert verdict["log_loss"]["sentence"] in caplog.text and verdict["log_loss"]["sentence"] in repr(run)
    rows = run.domains()["target"].splits["test"].inputs
    predicted = run.predict(np.asarray(rows)).predicted
    assert np.mean(predicted == run.domains()["target"].splits["test"].labels) == verdict["run"]
    assert run.export("saved_model")
    assert main(["report", str(run.path)]) == 0
    assert "unadapted run" in run.run_dir.report.read_text("utf-8")
    facts = json.loads((run.path / "adapted.json").read_text("utf-8"))
    assert sum(facts["class_shares"]["after"].values()) == pytest.approx(1)
    assert main(["reproduce", str(run.path)]) == 2


def test_a_target_without_labels_gets_the_same_weights_and_no_verdict(source, adapted, tmp_path):
    labelled = adapted("tent")
    splits = labelled.domains()["target"].splits
    rows = {f"x_{name}": np.asarray(part.inputs, np.float32) for name, part in splits.items()}
    np.savez(tmp_path / "rows.npz", **rows)
    bare = tlkeras.adapt(source, f"npz:{tmp_path / 'rows.npz'}", "tent", tmp_path / "bare", epochs=2)
    assert bare.verdict["verdict"] == "not_judged"
    assert bare.verdict["gain"] is None
    assert bare.metrics == {"target": {}}
    statistics = [batch_norm_layers(run.model)[0].moving_mean.numpy() for run in (labelled, bare)]
    np.testing.assert_allclose(*statistics, atol=1e-6)


def test_a_killed_adaptation_starts_again_and_ends_alike(source, adapted, tmp_path, monkeypatch, capsys):
    whole = adapted("shot")

    class Killed(BaseException):
        pass

    adapt = Shot.adapt

    def stop(self, model, rows, log):
        def log_and_stop(epoch, loss):
            raise Killed

        adapt(self, model, rows, log_and_stop)

    monkeypatch.setattr(Shot, "adapt", stop)
    with pytest.raises(Killed):
        tlkeras.adapt(source, TARGET, "shot", tmp_path / "again", epochs=2)
    monkeypatch.undo()
    assert not (tmp_path / "again" / "best.keras").exists()
    with pytest.raises(UserError, match="holds another adaptation"):
        tlkeras.adapt(source, TARGET, "shot", tmp_path / "again", epochs=3)
    again = tlkeras.adapt(source, TARGET, "shot", tmp_path / "again", epochs=2)
    assert not changed(whole.model, again.model)
    before = digests(again.path)
    words = ["adapt", str(source), f"--target={TARGET}", "--method=shot", "--epochs=2"]
    assert main([*words, f"--workdir={again.path}"]) == 0
    assert "finished already" in capsys.readouterr().out
    assert digests(again.path) == before


def test_what_cannot_be_adapted_is_refused_and_nothing_is_written(source, tmp_path, capsys):
    values = tmp_path / "values"
    shutil.copytree(source, values)
    manifest = json.loads((values / "manifest.json").read_text("utf-8")) | {"task": "regression"}
    (values / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    for run, method, options, message in (
        (values, "tent", {}, "tent needs one class per row"),
        (values, "shot", {}, "shot needs one class per row"),
        (source, "tant", {}, "Did you mean 'tent'"),
        (source, "adabn", {"epochs": 3}, "adabn refuses its options"),
    ):
        with pytest.raises(UserError, match=message):
            tlkeras.adapt(run, TARGET, method, tmp_path / "run", **options)
    np.savez(tmp_path / "wide.npz", x=np.zeros((60, 3), np.float32))
    for target, message in (
        ("digits", "Unknown class in digits"),
        (f"npz:{tmp_path / 'wide.npz'}", "target"),
    ):
        with pytest.raises(UserError, match=message):
            tlkeras.adapt(source, target, workdir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert main(["adapt", str(source)]) == 2
    assert "--target is missing" in capsys.readouterr().err


def test_a_model_without_the_layers_that_a_method_changes_is_refused():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    bare = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Identity(name="features")(inputs)))
    for method, network, message in (
        ("adabn", model, "this model has none: use tent or shot"),
        ("tent", model, "normalisation layers, and this model has none"),
        ("shot", model, "no layer `features`"),
        ("shot", bare, "no weights there"),
    ):
        with pytest.raises(UserError, match=message):
            WAYS.get(method)().check(network)


def test_pseudo_labels_correct_the_answers_of_a_shifted_classifier():
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    features = 4 * np.eye(3)[labels] + rng.normal(size=(90, 3)) * 0.3
    logits = features + np.array([2.5, 0, 0])  # many rows of other classes are predicted as the first
    logits[:, 2] -= 1e9  # a class that is never predicted gets no rows
    found = pseudo_labels(features, logits[:, :2].astype("float32"))
    assert np.mean(found[labels < 2] == labels[labels < 2]) > 0.95
    assert set(pseudo_labels(features, logits.astype("float32"))) == {0, 1}


def test_tent_trains_layer_normalization():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.LayerNormalization()(inputs)))
    way = WAYS.get("tent")(epochs=3, learning_rate=0.1)
    way.check(model)
    x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
    before, losses = [w.numpy() for w in model.weights], []
    rows = TargetRows(lambda: [x], lambda epoch: [(keras.ops.convert_to_tensor(x), np.arange(32))], 1)
    way.adapt(model, rows, lambda epoch, loss: losses.append(loss))
    assert losses[2] < losses[0]
    moved = [not np.array_equal(b, w.numpy()) for b, w in zip(before, model.weights, strict=True)]
    assert moved == [True, True, False, False]
