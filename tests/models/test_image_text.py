"""Pictures with texts: two backbones that are opened one by one, missing parts, joins and runs."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from variants import all_but

from tlkeras import load_config, load_run, run_experiment
from tlkeras.config import AugmentConfig, JoinConfig, ModelConfig
from tlkeras.data import load_domain
from tlkeras.errors import UserError
from tlkeras.models import build_model
from tlkeras.prepare import inspect_data
from tlkeras.studies.merge import merge_runs

pytest.importorskip("tokenizers")

WORDS = ["red", "blue", "a", "the", "thing", "very"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
SIDE, LENGTH, ROWS, MISSING = 16, 6, 160, 3
SHAPES = {"image": (SIDE, SIDE, 3), "ids": (LENGTH,), "mask": (LENGTH,)}
TEXT = {"width": 8, "depth": 2, "heads": 2, "hidden": 8, "words": len(VOCABULARY), "positions": 16}
MODEL = {
    "backbone": "small_cnn",
    "weights": None,
    "backbone_options": {"filters": [4, 8]},
    "beside": {"text": {"backbone": "bert_base", "backbone_options": TEXT}},
}


def made_up(count, seed=0):
    """Returns bright or dark pictures and texts of red or blue things; bright red things are of class yes."""
    rng = np.random.default_rng(seed)
    bright, red = rng.integers(0, 2, (2, count)).astype(bool)
    pictures = rng.integers(1, 90, (count, SIDE, SIDE, 3)) + 150 * bright[:, None, None, None]
    texts = [f"{rng.choice(['a', 'the'])} {'red' if is_red else 'blue'} thing" for is_red in red]
    return pictures.astype(np.uint8), texts, np.where(bright & red, "yes", "no")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captions")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    pictures, texts, labels = made_up(ROWS)
    texts = [""] * MISSING + texts[MISSING:]
    names = [f"{i}.png" for i in range(ROWS)]
    for name, picture in zip(names, pictures, strict=True):
        Image.fromarray(picture).save(folder / name)
    with open(folder / "rows.csv", "w", newline="") as file:
        csv.writer(file).writerows([("file", "title", "label"), *zip(names, texts, labels, strict=True)])
    return folder


def config(place, cache, *words):
    data = {"source": f"csv:{place}/rows.csv", "picture": "file", "text": "title", "image_size": SIDE,
            "tokenizer": f"{place}/vocab.txt", "max_length": LENGTH, "batch_size": 16}  # fmt: skip
    stages = [
        {"name": "picture", "train": {"image": "last:1", "text": "head"}, "epochs": 2},
        {
            "name": "all",
            "train": "all",
            "epochs": 6,
            "augment": {"word_swap": 0.1},
            "optimizer": {"learning_rate": 0.02},
        },
    ]
    return load_config({"name": "captions", "data": data, "model": MODEL, "stages": stages},
                       [f"cache.dir={cache}", *words])  # fmt: skip


@pytest.fixture(scope="module")
def finished(place):
    return run_experiment(config(place, place / "cache"), place / "run")


def small(**changes):
    return build_model(ModelConfig(**MODEL | changes), input_shape=SHAPES, num_outputs=2)


def inputs(count, seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(5, len(VOCABULARY), (count, LENGTH)).astype(np.int32)
    pictures = rng.integers(1, 255, (count, SIDE, SIDE, 3)).astype(np.float32)
    return {"image": pictures, "ids": ids, "mask": np.ones((count, LENGTH), np.int32)}


def test_each_backbone_is_opened_by_itself():
    model = small()
    opened = lambda train: set(model.select(train).blocks)  # noqa: E731
    assert opened("image=last:1,text=head") == {"image_conv_2"}
    assert opened("image=head,text=from:block_1") == {"text_block_1"}
    assert opened("last:1") == {"image_conv_2", "text_block_1"}
    assert opened("text=regex:block_0_mlp_1") == {"text_block_0"}
    assert opened("head") == set()
    assert opened("all") == {x.name for x in model.blocks}


TRAINED = ["head", "image=last:1", "text=last:1", "last:1", "text=all", "image=all"]


@pytest.mark.parametrize("train", all_but(["image=last:1", "text=all"], TRAINED))
def test_the_trunk_holds_what_is_frozen_in_each_and_gives_the_same_logits(train):
    model, x = small(), inputs(4)
    model.select(train)
    trunk, after = model.trunk(), model.on_features()
    frozen = {v.path for v in trunk.variables}
    assert not frozen & {v.path for v in model.trainable_variables}
    np.testing.assert_allclose(after(trunk(x)), model(x), atol=1e-6)
    np.testing.assert_allclose(model.to_functional()(x), model(x), atol=1e-6)
    before = [np.array(v) for v in trunk.variables]
    model.compile("sgd", "mse")
    model.fit(x, np.ones((4, 2)), verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, trunk.variables, strict=True))


def test_a_missing_part_has_features_of_zeros_and_neither_part_drowns_the_other():
    model, x = small(), inputs(3)
    x["image"][0], x["mask"][1] = 0, 0
    image, text = np.split(np.asarray(model.backbone(x)), [8], axis=1)
    assert not image[0].any() and not text[1].any()
    np.testing.assert_allclose(np.std(image[1:], axis=1), 1, atol=1e-2)
    np.testing.assert_allclose(np.std(text[::2], axis=1), 1, atol=1e-2)


@pytest.mark.parametrize("name", ["concat", "gated", "low_rank"])
def test_joins_drop_whole_parts_in_training_only(name):
    wide = {} if name == "concat" else {"units": 5}
    model, x = small(join=JoinConfig(name=name, dropout=0.5, **wide)), inputs(64)
    model.select("head")
    kept = np.asarray(model.features(x))
    assert kept.shape == (64, 16 if name == "concat" else 5)
    assert np.array_equal(kept, model.features(x))
    drawn = np.asarray(model.features(x, training=True))
    if name == "concat":
        gone = [(part == 0).all(axis=1) for part in np.split(drawn, 2, axis=1)]
        assert all(0.25 < part.mean() < 0.75 for part in gone)
        assert not ((drawn == 0) & ~np.repeat(np.stack(gone, 1), 8, axis=1)).any()
    else:
        assert not np.allclose(drawn, kept)


def test_inspect_counts_what_is_missing(place, tmp_path):
    found = inspect_data(config(place, tmp_path))["source"].to_dict()
    assert sum(facts["without a text"] for facts in found["facts"].values()) == MISSING
    assert {facts["without a picture"] for facts in found["facts"].values()} == {0}


def test_it_learns_from_both_and_answers_rows_without_one(finished):
    assert finished.metrics["source"]["test"]["accuracy"] > 0.9
    pictures, texts, labels = made_up(40, seed=5)
    answers = finished.predict({"image": pictures, "text": texts})
    names = np.array(answers.class_names)
    assert (names[answers.predicted] == labels).mean() > 0.9
    alone = finished.predict({"image": pictures, "text": [None] * 40})
    assert np.isfinite(alone.logits).all() and not np.allclose(alone.logits, answers.logits)


def test_the_same_rows_have_the_same_fingerprint(finished):
    """Also when they are read again: a run resumes, and a cache is found, only then."""
    again = finished.domains()["source"]
    assert finished.manifest["data_fingerprint"] == {"source": again.fingerprint()}
    assert len({row.tobytes() for row in again.splits["train"].digests}) == len(again.splits["train"])


def test_a_merged_run_reads_texts_with_the_tokenizer_of_its_members(finished, tmp_path):
    merged = merge_runs([finished.path, finished.path], tmp_path / "merged", "uniform")
    (name,) = finished.modality.files
    assert (merged.path / name).read_bytes() == (finished.path / name).read_bytes()
    pictures, texts, _ = made_up(20, seed=5)
    rows = {"image": pictures, "text": texts}
    np.testing.assert_allclose(merged.predict(rows).logits, finished.predict(rows).logits, atol=1e-6)


@pytest.mark.usefixtures("without_report")
def test_the_frozen_text_is_computed_once_and_gives_the_same_bits(finished, place, tmp_path):
    events = [json.loads(line) for line in (finished.path / "ledger.jsonl").read_text().splitlines()]
    assert next(e for e in events if e["event"] == "completed")["extraction_seconds"] > 0
    run_experiment(config(place, tmp_path, "cache.enabled=false"), tmp_path / "run")
    other = load_run(tmp_path / "run").model.get_weights()
    assert all(np.array_equal(*pair) for pair in zip(finished.model.get_weights(), other, strict=True))


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("data.text=titel", r"needs a column 'titel'.*Did you mean 'title'"),
        ("stages.0.train=imgae=last:1", "part in train.*imgae"),
        ("stages.0.train=image=last:9", "The backbone of image has 2 blocks"),
        ("stages.0.train=from:conv_2", "image=from:conv_2"),
        ("stages.1.gradual=true", "gradual opens the blocks of one backbone"),
        ("model.join.name=sum", "concat, gated, low_rank"),
        ("model.beside={}", "set model.beside.text.backbone"),
        ("data.picture=none", "give data.picture"),
    ],
)
def test_mistakes_are_named(place, tmp_path, word, named):
    with pytest.raises(UserError, match=named):
        run_experiment(config(place, tmp_path, word), tmp_path / "run")
    assert not (tmp_path / "run" / "best.keras").exists()


def test_a_row_needs_a_part(place, tmp_path):
    lines = (place / "rows.csv").read_text().splitlines()
    (tmp_path / "rows.csv").write_text("\n".join([*lines, ",,yes"]))
    with pytest.raises(UserError, match=r"line 162: the file and title are empty"):
        run_experiment(config(place, tmp_path, f"data.source=csv:{tmp_path}/rows.csv"), tmp_path / "run")


@pytest.mark.parametrize("change", [{"noise": 9.0}, {"color": 1.0}, {"randaugment": 3}])
def test_no_change_makes_a_missing_picture_there(place, tmp_path, change):
    lines = (place / "rows.csv").read_text().splitlines()
    lines[-20:] = ["," + line.split(",", 1)[1] for line in lines[-20:]]
    (place / "fewer.csv").write_text("\n".join(lines))
    domain = load_domain(config(place, tmp_path, f"data.source=csv:{place}/fewer.csv").data, seed=0)
    rows = domain.splits["train"]
    missing = np.array([isinstance(one, bytes) for one in rows.inputs["image"]])
    assert 0 < missing.sum() < len(rows)
    read, places = domain.modality.reader(rows, domain.config), np.arange(len(rows))
    unchanged = read(places)["image"].numpy()
    for epoch in range(2):
        augment = AugmentConfig(**change)
        found = domain.modality.drawn(read, augment, 0, np.int64(epoch), places)["image"].numpy()
        assert not found[missing].any() and found[~missing].any(axis=(1, 2, 3)).all()
        assert not np.array_equal(found, unchanged)
