"""A kind of input of several tensors, a picture with token ids and a mask, takes part in everything."""

import json
import os
import re
import signal

import captioned_modality
import keras
import numpy as np
import pytest
import tensorflow as tf

from tlkeras import load_config, load_run, run_experiment
from tlkeras.data.combined_batches import pair_batches
from tlkeras.data.input_shapes import columns
from tlkeras.errors import Interrupted, UserError
from tlkeras.methods.adapt.configured import adaptation_model
from tlkeras.models import BACKBONES, Backbone, build_model
from tlkeras.models.cuts.cut_points import find_cut_points

CONFIG = {
    "name": "captions",
    "data": {"source": "captions:1", "batch_size": 16},
    "model": {"backbone": "two_towers", "weights": None},
    "checkpoint": {"every_steps": 1},
    "stages": [
        {"name": "last", "train": "last:1", "epochs": 2, "optimizer": {"learning_rate": 0.01}},
        {"name": "all", "train": "all", "epochs": 6, "optimizer": {"learning_rate": 0.02}},
    ],
}
SHAPES = {"pixels": (8, 8, 3), "ids": (6,), "mask": (6,)}


def config(tmp_path, *words):
    return load_config(CONFIG, [f"cache.dir={tmp_path / 'cache'}", *words])


def same_weights(one, other):
    pairs = zip(load_run(one).model.get_weights(), load_run(other).model.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captions")
    return run_experiment(config(folder), folder / "run")


def test_it_trains_and_predicts_from_a_dict_of_arrays(finished):
    assert finished.metrics["source"]["test"]["accuracy"] > 0.9 and finished.input_shape == SHAPES
    inputs, labels = captioned_modality.made_up(50, 7)
    answers = finished.predict(inputs, batch_size=8)
    assert (answers.predicted == labels).mean() > 0.9
    assert np.array_equal(finished.predict(columns(inputs), batch_size=8).logits, answers.logits)
    assert finished.evaluate()["source"] == finished.metrics["source"]


def test_the_saved_model_takes_the_inputs_by_name_and_type(finished):
    model = keras.models.load_model(finished.path / "best.keras", compile=False)
    assert {x.name: (x.shape[1:], x.dtype) for x in model.inputs} == {
        "pixels": ((8, 8, 3), "float32"), "ids": ((6,), "int32"), "mask": ((6,), "bool"),
    }  # fmt: skip
    inputs, _ = captioned_modality.made_up(4, 7)
    hidden = {**inputs, "ids": np.where(inputs["mask"], inputs["ids"], 0)}
    assert np.array_equal(model.predict(inputs, verbose=0), model.predict(hidden, verbose=0))


@pytest.mark.usefixtures("without_report")
def test_the_trunk_is_computed_once_and_gives_the_same_bits(finished, tmp_path):
    events = [json.loads(line) for line in (finished.path / "ledger.jsonl").read_text().splitlines()]
    assert next(e for e in events if e["event"] == "completed")["extraction_seconds"] > 0
    run_experiment(config(tmp_path, "cache.enabled=false"), tmp_path / "run")
    assert same_weights(finished.path, tmp_path / "run")


def test_another_caption_or_mask_has_features_of_its_own():
    inputs, labels = captioned_modality.made_up(60, 3)
    keys = set()
    for changed in ((), ("ids",), ("mask",)):
        rows = captioned_modality.rows_of(
            {name: np.roll(x, 1, axis=1) if name in changed else x for name, x in inputs.items()}, labels
        )
        keys.add(rows.fingerprint())
    assert len(keys) == 3


def test_an_interrupted_run_goes_on_to_the_same_bits(finished, tmp_path, monkeypatch):
    reads = []

    def interrupting(x, augment, seed, epoch, indices):
        def count(ids):
            reads.append(1)
            if len(reads) == 30:
                os.kill(os.getpid(), signal.SIGTERM)
            return ids

        ids = tf.numpy_function(count, [x["ids"]], x["ids"].dtype)
        return {**x, "ids": tf.ensure_shape(ids, x["ids"].shape)}

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(captioned_modality.MODALITIES.get("captioned"), "augmented", interrupting)
        run_experiment(config(tmp_path), tmp_path / "run")
    assert not (tmp_path / "run" / "best.keras").exists()
    run_experiment(config(tmp_path), tmp_path / "run")
    assert same_weights(finished.path, tmp_path / "run")


def test_the_report_shows_picture_and_words(finished):
    worst = json.loads((finished.path / "evaluation/gallery/index.json").read_text())[0]
    assert (finished.path / "evaluation/gallery" / worst["picture"]).is_file() and worst["words"]
    shown = re.sub(r"<[^>]+>", "", (finished.path / "report.html").read_text("utf-8"))
    assert " ".join(worst["words"]) in " ".join(shown.split())


@pytest.mark.usefixtures("without_report")
def test_both_domains_of_an_adaptation_stand_in_one_batch():
    def trained(target):
        model = build_model(load_config(CONFIG).model, input_shape=SHAPES, num_outputs=2)
        model.select("all")
        adapting = adaptation_model(model, "deep_coral", steps=2)
        adapting.compile(optimizer="sgd", loss=keras.losses.SparseCategoricalCrossentropy(True))
        parts = [tf.data.Dataset.from_tensors(part).repeat(2) for part in (source, target)]
        adapting.fit(pair_batches(*parts), steps_per_epoch=2, shuffle=False, verbose=0)
        return model.get_weights()

    source, (inputs, labels), (others, _) = (captioned_modality.made_up(8, seed) for seed in (1, 2, 3))
    weights = trained((inputs, labels))
    assert all(np.isfinite(array).all() for array in weights)
    for name in SHAPES:  # every input of the target takes part
        changed = trained(({**inputs, name: others[name]}, labels))
        assert not all(np.array_equal(*pair) for pair in zip(weights, changed, strict=True)), name


def test_cuts_begin_where_all_inputs_have_come_together():
    model = build_model(load_config(CONFIG).model, input_shape=SHAPES, num_outputs=2)
    assert find_cut_points(model.backbone)[0][0].name == "join_1"
    names = [block.name for block in model.blocks]
    assert names[-2:] == ["dense_2", "dense_3"]
    model.select("last:2")
    assert isinstance(model.trunk().input, dict) and model.trunk().output_shape == (None, 19)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (lambda x: x["pixels"], "dict of batches of pixels 8 x 8 x 3, ids 6, mask 6"),
        (lambda x: {"ids": x["ids"]}, "Received: ids"),
        (lambda x: {**x, "ids": x["ids"][:, :3]}, "ids 3"),
        (lambda x: {**x, "ids": x["ids"][:1]}, "same number of rows"),
    ],
)
def test_what_is_no_such_dict_is_refused(finished, given, named):
    with pytest.raises(UserError, match=named):
        finished.predict(given(captioned_modality.made_up(2, 0)[0]))


def test_what_takes_a_single_input_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"model\.adapter needs data with a single input.*pixels, ids, mask"):
        words = ['model.adapter={"backbone":"none","units":[4]}']
        build_model(config(tmp_path, *words).model, input_shape=SHAPES, num_outputs=2)
    one_tower = lambda input_shape: keras.Model(*[keras.Input((3,))] * 2)  # noqa: E731
    BACKBONES.add("one_tower", Backbone("one_tower", one_tower, input="captioned"), replace=True)
    with pytest.raises(UserError, match=r"one_tower must be a model of a dict of inputs.*pixels, ids, mask"):
        build_model(config(tmp_path, "model.backbone=one_tower").model, input_shape=SHAPES, num_outputs=2)
