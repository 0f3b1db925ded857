"""Text backbones: the same numbers as the papers' formulas in NumPy, whatever the padding."""

import math

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from tlkeras.config import ModelConfig
from tlkeras.errors import UserError
from tlkeras.models import BACKBONES, build_model
from tlkeras.models.backbones.construct import construct
from tlkeras.models.weights.load import load_backbone

WIDTH, DEPTH, HEADS, HIDDEN, WORDS, POSITIONS = 12, 2, 3, 20, 30, 16
OPTIONS = {"width": WIDTH, "depth": DEPTH, "heads": HEADS, "hidden": HIDDEN, "words": WORDS,
           "positions": POSITIONS}  # fmt: skip
_NAMES = {
    "bert": ("bert.encoder.layer.{}.", ("attention.self.query", "attention.self.key", "attention.self.value",
             "attention.output.dense", "attention.output.LayerNorm", "intermediate.dense", "output.dense",
             "output.LayerNorm")),
    "distilbert": ("distilbert.transformer.layer.{}.", ("attention.q_lin", "attention.k_lin",
                   "attention.v_lin", "attention.out_lin", "sa_layer_norm", "ffn.lin1", "ffn.lin2",
                   "output_layer_norm")),
}  # fmt: skip
_NAMES["roberta"] = ("roberta.encoder.layer.{}.", _NAMES["bert"][1])
_SHAPES = [(WIDTH, WIDTH)] * 4 + [(WIDTH,), (HIDDEN, WIDTH), (WIDTH, HIDDEN), (WIDTH,)]


def checkpoint(kind):
    """Returns random arrays under the names of transformers."""
    rng = np.random.default_rng(3)
    arrays, (prefix, parts) = {}, _NAMES[kind]

    def put(name, shape):
        arrays[f"{name}.weight"] = rng.normal(0, 0.5, shape).astype("float32")
        if "embeddings." not in name or name.endswith("LayerNorm"):
            arrays[f"{name}.bias"] = rng.normal(0, 0.5, shape[0]).astype("float32")

    put(f"{kind}.embeddings.word_embeddings", (WORDS, WIDTH))
    put(f"{kind}.embeddings.position_embeddings", (POSITIONS + 2 * (kind == "roberta"), WIDTH))
    if kind != "distilbert":
        put(f"{kind}.embeddings.token_type_embeddings", (2 - (kind == "roberta"), WIDTH))
    put(f"{kind}.embeddings.LayerNorm", (WIDTH,))
    for i in range(DEPTH):
        for part, shape in zip(parts, _SHAPES, strict=True):
            put(prefix.format(i) + part, shape)
    arrays["pooler.dense.weight"] = np.zeros((WIDTH, WIDTH), "float32")
    return arrays


def by_formulas(arrays, kind, ids, epsilon):
    """Returns the vectors of one text without padding, `(tokens, width)`, in float64."""
    prefix, parts = _NAMES[kind]

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
        return x * arrays[f"{name}.weight"] + arrays[f"{name}.bias"]

    def dense(x, name):
        return x @ arrays[f"{name}.weight"].T + arrays[f"{name}.bias"]

    first = 2 if kind == "roberta" else 0
    x = arrays[f"{kind}.embeddings.word_embeddings.weight"][ids].astype("float64")
    x = x + arrays[f"{kind}.embeddings.position_embeddings.weight"][first : first + len(ids)]
    if kind != "distilbert":
        x = x + arrays[f"{kind}.embeddings.token_type_embeddings.weight"][0]
    x = norm(x, f"{kind}.embeddings.LayerNorm")
    for i in range(DEPTH):
        query, key, value, out, norm_1, mlp_1, mlp_2, norm_2 = (prefix.format(i) + p for p in parts)
        q, k, v = (dense(x, n).reshape(-1, HEADS, WIDTH // HEADS) for n in (query, key, value))
        scores = np.exp(np.einsum("qhd,khd->hqk", q, k) / math.sqrt(WIDTH // HEADS))
        y = np.einsum("hqk,khd->qhd", scores / scores.sum(-1, keepdims=True), v).reshape(-1, WIDTH)
        x = norm(x + dense(y, out), norm_1)
        y = dense(x, mlp_1)
        y = y * (1 + np.vectorize(math.erf)(y / math.sqrt(2))) / 2
        x = norm(x + dense(y, mlp_2), norm_2)
    return x


def padded(texts, length):
    ids, mask = np.zeros((2, len(texts), length), "int32")
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    return {"ids": ids, "mask": mask}


TEXTS = [[2, 5, 7, 3], [2, 3], [2, 29, 0, 11, 4, 9, 3]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("weights")
    for kind in _NAMES:
        (place / kind).mkdir()
        save_file(checkpoint(kind), place / kind / "model.safetensors")
    return place


def model_config(**changes):
    return ModelConfig(backbone="bert_base", backbone_options=OPTIONS, **changes)


def loaded(folder, name, length):
    shape = {"ids": (length,), "mask": (length,)}
    return load_backbone(BACKBONES.get(name), str(folder), shape, OPTIONS)


@pytest.mark.parametrize("kind", _NAMES)
def test_it_is_the_formulas_of_the_paper_whatever_the_padding(folders, kind):
    name = f"{kind}_base"
    for length in (8, 16):
        model, report = loaded(folders / kind, name, length)
        assert report.unused == ("pooler.dense.weight",) and not report.unmatched
        out = model.predict(padded(TEXTS, length), verbose=0)
        epsilon = model.get_layer("stem_norm").epsilon
        for vectors, text in zip(out, TEXTS, strict=True):
            wanted = by_formulas(checkpoint(kind), kind, text, epsilon)
            np.testing.assert_allclose(vectors[: len(text)], wanted, atol=1e-5)
            assert not vectors[len(text) :].any()


@pytest.mark.parametrize("kind", _NAMES)
def test_pairs_have_the_vectors_of_both_segments(folders, kind):
    shape = dict.fromkeys(("ids", "mask", "types"), (8,))
    model, report = load_backbone(BACKBONES.get(f"{kind}_base"), str(folders / kind), shape, OPTIONS)
    assert not report.unmatched
    x = padded(TEXTS, 8)
    first = model.predict(x | {"types": np.zeros_like(x["ids"])}, verbose=0)
    alone, _ = loaded(folders / kind, f"{kind}_base", 8)
    np.testing.assert_allclose(first, alone.predict(x, verbose=0), atol=1e-5)
    second = model.predict(x | {"types": x["mask"]}, verbose=0)
    arrays = checkpoint(kind)
    name = f"{kind}.embeddings.token_type_embeddings.weight"
    if kind == "bert":  # the other kinds have one segment or none
        arrays[name] = arrays[name][1:]
    for vectors, text in zip(second, TEXTS, strict=True):
        wanted = by_formulas(arrays, kind, text, model.get_layer("stem_norm").epsilon)
        np.testing.assert_allclose(vectors[: len(text)], wanted, atol=1e-5)


@pytest.mark.parametrize("pooling", ["avg", "max", "class", "both", "gem", "class_and_avg"])
def test_a_longer_padding_changes_no_answer(folders, pooling):
    config = model_config(weights=str(folders / "bert"), neck={"pooling": pooling})
    answers = []
    for length in (8, 16):
        model = build_model(config, input_shape={"ids": (length,), "mask": (length,)}, num_outputs=3)
        answers.append(model.to_functional().predict(padded(TEXTS, length), verbose=0))
    np.testing.assert_allclose(*answers, atol=1e-5)
    assert answers[0].std(axis=0).min() > 1e-3


def test_the_saved_model_opens_with_keras_alone_and_is_cut_at_every_block(folders, tmp_path):
    model, _ = loaded(folders / "bert", "bert_base", 8)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    x = padded(TEXTS, 8)
    assert np.array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    built = build_model(model_config(weights=None), input_shape={"ids": (8,), "mask": (8,)}, num_outputs=2)
    assert [block.name for block in built.blocks] == ["stem", "block_0", "block_1"]


def test_rows_of_the_table_are_as_the_builder_builds():
    row = BACKBONES.get("minilm_l6")
    model = construct(row, {"ids": (16,), "mask": (16,)}, {})
    assert model.count_params() == row.parameters == 22_564_608


def test_texts_longer_than_the_positions_are_refused():
    with pytest.raises(UserError, match=r"at most 16 tokens. Received: data.max_length=17"):
        construct(BACKBONES.get("bert_base"), {"ids": (17,), "mask": (17,)}, OPTIONS)
