"""Texts: read and tokenised, trained, predicted from raw text, explained and exported.

faults/test_kills_of_modalities.py kills runs on texts, and compares them with runs without a cache.
"""

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tlkeras import load_config, load_run, run_experiment
from tlkeras.cli.main import main
from tlkeras.config import AugmentConfig
from tlkeras.data.domains import load_domain
from tlkeras.data.modalities import Text
from tlkeras.data.tokenizer import Tokenizer
from tlkeras.demo.answers import Answers
from tlkeras.errors import UserError
from tlkeras.export import export_run
from tlkeras.prepare import read_domains

tokenizers = pytest.importorskip("tokenizers")

WORDS = [
    "a",
    "the",
    "film",
    "plot",
    "actor",
    "was",
    "is",
    "so",
    "very",
    "good",
    "great",
    "fine",
    "bad",
    "dull",
    "awful",
]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
OPTIONS = {"width": 16, "depth": 2, "heads": 2, "hidden": 32, "words": len(VOCABULARY), "positions": 32}

MODEL = {"backbone": "bert_base", "weights": None, "backbone_options": OPTIONS}


def made_up(count, seed=0):
    """Returns texts, and whether they are kind."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, count)
    texts = []
    for good in kind:
        words = list(rng.choice(WORDS[:9], rng.integers(2, 7)))
        words.insert(rng.integers(len(words)), rng.choice(WORDS[9:12] if good else WORDS[12:]))
        texts.append(" ".join(words))
    return texts, [("unkind", "kind")[good] for good in kind]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    with open(folder / "reviews.csv", "w", newline="") as file:
        csv.writer(file).writerows([("review", "label"), *zip(*made_up(240), strict=True)])
    return folder


def config(place, cache, *words):
    changes = [
        f"data.source=csv:{place}/reviews.csv",
        "data.text=review",
        f"data.tokenizer={place}/vocab.txt",
        "data.max_length=12",
        "data.batch_size=16",
        f"cache.dir={cache}",
        *words,
    ]
    stages = [
        {"name": "last", "train": "last:1", "epochs": 1, "optimizer": {"learning_rate": 0.005}},
        {"name": "all", "train": "all", "epochs": 3, "optimizer": {"learning_rate": 0.005}},
    ]
    return load_config({"name": "texts", "data": {"source": ""}, "model": MODEL, "stages": stages}, changes)


@pytest.fixture(scope="module")
def finished(place):
    return run_experiment(config(place, place / "cache"), place / "run")


def test_it_learns_and_takes_raw_text_without_the_tokenizer_of_the_config(finished, tmp_path, capsys):
    texts, kinds = made_up(60, seed=7)
    answers = finished.predict(texts)
    assert (np.array(finished.class_names)[answers.predicted] == kinds).mean() > 0.9
    moved = tmp_path / "moved"
    (moved / "evaluation").mkdir(parents=True)
    kept = ("best.keras", "manifest.json", "config.json", "tokenizer.json", "evaluation/calibration.json")
    for name in kept:
        (moved / name).write_bytes((finished.path / name).read_bytes())
    (tmp_path / "lines.txt").write_text("\n\n".join(texts))
    there = load_run(moved)
    predictions, skipped = there.predict_files(tmp_path / "lines.txt")
    assert np.allclose(predictions.logits, answers.logits, atol=1e-5) and not skipped
    assert list(predictions.ids[:2]) == [f"{tmp_path}/lines.txt:1", f"{tmp_path}/lines.txt:3"]
    ids = there.modality.tokenizer.encode(texts, 12)
    assert np.array_equal(there.predict({"ids": ids["ids"], "mask": ids["mask"]}).logits, answers.logits)
    assert main(["predict", str(moved), "--text=the plot was so dull", "--text=very fine"]) == 0
    assert re.findall(r",(unkind|kind),", capsys.readouterr().out) == ["unkind", "kind"]


def test_the_report_shows_the_tokens_and_what_they_weigh(finished):
    worst = json.loads((finished.path / "evaluation/gallery/index.json").read_text())[0]
    assert worst["words"][0] == "[CLS]" and worst["method"] == "leaving out" and max(worst["weights"]) == 1
    shown = re.sub(r"<[^>]+>", "", (finished.path / "report.html").read_text("utf-8"))
    assert " ".join(worst["words"]) in " ".join(shown.split())


def test_leaving_out_finds_the_word_that_decides(finished):
    x = finished.modality.tokenizer.encode(["the plot was so dull a film"], 12)
    maps, _ = finished.modality.explain(finished.model, {n: x[n] for n in ("ids", "mask")}, None, "bert_base")
    assert finished.modality.texts({n: x[n] for n in ("ids", "mask")})[0][maps[0].argmax()] == "dull"


@pytest.mark.usefixtures("without_report")
def test_the_experiment_across_domains_adapts_texts(place, tmp_path):
    with open(tmp_path / "others.csv", "w", newline="") as file:
        csv.writer(file).writerows([("review", "label"), *zip(*made_up(60, seed=3), strict=True)])
    words = [f"data.source=csv:{place}/reviews.csv", f"data.tokenizer={place}", "data.text=review",
             f"adaptation.target.source=csv:{tmp_path}/others.csv", "data.max_length=12", "data.batch_size=8",
             "data.limit=24", "adaptation.target.limit=24", "adaptation.seeds=1", "stages.0.epochs=1",
             "model.backbone=bert_base", "model.weights=none", f"cache.dir={tmp_path}",
             f"model.backbone_options={json.dumps(OPTIONS | {'depth': 1})}"]  # fmt: skip
    run = run_experiment(load_config("sentiment_across_domains", words), tmp_path / "run")
    assert (run.path / "evaluation" / "verdict.json").is_file() and {"source", "target"} <= run.metrics.keys()


def test_a_target_with_another_tokenizer_is_refused(place, tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(reversed(VOCABULARY)))
    target = {"source": f"csv:{place}/reviews.csv", "tokenizer": f"{tmp_path}/vocab.txt"}
    adaptation = json.dumps({"method": "dann", "target": target})
    wrong = config(place, tmp_path, f"adaptation={adaptation}")
    with pytest.raises(
        UserError, match=r"All domains .* one tokenizer|leave adaptation.target.tokenizer out"
    ):
        run_experiment(wrong, tmp_path / "run")


@pytest.mark.usefixtures("without_report")
def test_arrays_of_strings_are_texts_where_there_is_a_tokenizer(place, tmp_path):
    texts, kinds = made_up(80)
    both = config(place, tmp_path, "data.text=none")
    short = both.model_copy(update={"stages": both.stages[:1]})
    run = run_experiment(short, tmp_path / "run", data={"all": (texts, kinds)})
    assert run.input_shape == {"ids": (12,), "mask": (12,)} and run.predict(texts[:3]).logits.shape == (3, 2)


def test_exports_take_raw_text_through_the_client(finished, place, capsys, monkeypatch):
    compared = export_run(finished.path, ["saved_model", "litert", "onnx", "keras"], rows=16)
    assert max(parity.relative for parity in compared.values()) < 1e-4
    folder = finished.path / "export"
    described = json.loads((folder / "onnx" / "model.json").read_text())
    assert described["inputs"][0] == {"name": "ids", "shape": [None, 12], "dtype": "int32"}
    for name in compared:
        assert (folder / name / "tokenizer.json").read_text() == finished.modality.tokenizer.text
    text = "the plot was so dull"
    expected = finished.class_names[int(finished.predict([text]).predicted[0])]
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "argv", ["client.py", text])
    clients = re.findall(r"```python\n(.*?)```", Path("serve.md").read_text(), re.S)
    assert len(clients) == len(compared)
    for client in clients:
        exec(client, {})
        assert expected in capsys.readouterr().out


def changed(place, text, **augment):
    """Returns the words of a text in forty epochs."""
    text_kind = Text(Tokenizer.read(place))
    x = text_kind.tokenizer.encode([text], 16)
    x = {name: tf.constant(x[name]) for name in x.dtype.names}
    change = AugmentConfig(**augment)

    def at(epoch):
        seen = text_kind.augmented(x, change, 3, tf.constant(epoch, tf.int64), tf.constant([5], tf.int64))
        return tuple(text_kind.texts({name: part.numpy() for name, part in seen.items()})[0])

    found = [at(epoch) for epoch in range(40)]
    assert found == [at(epoch) for epoch in range(40)] and len(set(found)) > 5
    assert all(words[0] == "[CLS]" and words[-1] == "[SEP]" and len(words) > 2 for words in found)
    return [words[1:-1] for words in found]


def test_words_are_left_out_and_swapped_at_random_but_never_torn(place, tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*VOCABULARY, "##s", "##ish"]))
    whole = ("the", "film", "##ish", "plot", "##s", "was", "dull")
    text = "the filmish plots was dull"
    for words in changed(tmp_path, text, word_deletion=0.4):
        kept = iter(whole)
        assert all(word in kept for word in words)  # in their order
        assert ("film" in words) == ("##ish" in words) and ("plot" in words) == ("##s" in words)
    swapped = changed(tmp_path, text, word_swap=0.7)
    assert all(sorted(words) == sorted(whole) for words in swapped)
    assert all(words[words.index("film") + 1] == "##ish" for words in swapped)
    assert ("film", "##ish", "the", "plot", "##s", "was", "dull") in swapped
    lengths = {len(words) for words in changed(tmp_path, text, token_dropout=0.3)}
    assert lengths > {5, 6} and max(lengths) <= 7


def test_inspect_shows_lengths_cut_texts_scripts_and_duplicates(place, tmp_path, capsys):
    rows = [("a good film", "kind", "train"), ("so bad " * 5, "unkind", "train"), ("фильм", "kind", "train"),
            ("A good film", "unkind", "test"), ("dull", "unkind", "test")]  # fmt: skip
    with open(tmp_path / "rows.csv", "w", newline="") as file:
        csv.writer(file).writerows([("words", "label", "split"), *rows])
    (tmp_path / "made.py").write_text(
        "from tlkeras.config import *\n\ndef get_config():\n    return ExperimentConfig(\n"
        f"        data=DataConfig(source='csv:{tmp_path}/rows.csv', text='words', tokenizer='{place}',\n"
        "                        max_length=8, val_fraction=0),\n"
        "        model=ModelConfig(backbone='bert_base', weights=None), stages=[StageConfig(name='all')])\n"
    )
    assert main(["inspect", f"--config={tmp_path}/made.py"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "train: tokens min 3, median 5, max 12; cut by data.max_length=8 33.3%; unknown tokens" in said
    assert "scripts latin 87.2%, cyrillic 12.8%" in said
    assert "same content in different splits: train line:2, test line:5" in said
    assert "same content with different labels: line:2 as kind, line:5 as unkind" in said


@pytest.mark.parametrize(
    ("where", "augment", "message"),
    [
        (
            "texts",
            '{"flip":"both"}',
            "texts cannot have. Allowed: token_dropout and word_deletion and word_swap",
        ),
        ("texts", '{"mixup":0.2}', "texts cannot have"),
        ("images", '{"word_swap":0.2}', "images cannot have. Allowed: flip"),
    ],
)
def test_changes_of_another_kind_of_input_are_refused(place, tmp_path, where, augment, message):
    if where == "texts":
        wrong = config(place, tmp_path, f"stages.1.augment={augment}")
    else:
        wrong = load_config("synthetic_smoke", [f"stages.0.augment={augment}"])
    with pytest.raises(UserError, match=message):
        run_experiment(wrong, tmp_path / "run")


def rows_of(place, source, *changes):
    words = [f"data.source={source}", f"data.tokenizer={place}", "data.max_length=8", *changes]
    return read_domains(
        load_config({"data": {"source": ""}, "model": MODEL, "stages": [{"name": "all"}]}, words)
    )["source"]


def written_as(kind, folder):
    """Writes thirty texts in three splits, and returns the data source and what its config needs."""
    texts, labels = made_up(30)
    rows = list(zip(texts, labels, ["train"] * 20 + ["val"] * 4 + ["test"] * 6, strict=True))
    columns = {"words": texts, "label": labels, "split": [split for *_, split in rows]}
    file = folder / f"rows.{kind}"
    if kind == "csv":
        with open(file, "w", newline="") as opened:
            csv.writer(opened).writerows([tuple(columns), *rows])
    elif kind == "jsonl":
        lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in rows]
        file.write_text("\n\n".join(lines))
    elif kind == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table(columns), file)
    elif kind == "npz":
        parts = {s: [row[:2] for row in rows if row[2] == s] for s in ("train", "val", "test")}
        arrays = {
            f"{n}_{s}": [row[i] for row in part] for s, part in parts.items() for i, n in enumerate("xy")
        }
        np.savez(file, **arrays)
        return f"npz:{file}", []
    else:
        for number, (text, label, split) in enumerate(rows):
            (folder / split / label).mkdir(parents=True, exist_ok=True)
            (folder / split / label / f"{number:02d}.txt").write_text(f"{text}\n", "utf-8-sig")
        return f"text_folder:{folder}", []
    return f"{kind}:{file}", ["data.text=words"]


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "npz", "text_folder"])
def test_every_source_of_texts_gives_the_rows_of_the_csv_file(place, tmp_path, kind):
    for name in ("csv", kind):
        (tmp_path / name).mkdir()
    wanted, found = (
        rows_of(place, source, *changes)
        for source, changes in (written_as(name, tmp_path / name) for name in ("csv", kind))
    )
    assert found.class_names == wanted.class_names == ("kind", "unkind")
    for split, rows in wanted.splits.items():
        pairs = [sorted(zip(r.inputs["ids"].tolist(), r.labels.tolist(), strict=True))
                 for r in (rows, found.splits[split])]  # fmt: skip
        assert pairs[0] == pairs[1] and len(pairs[0]) in (20, 4, 6)


@pytest.mark.parametrize(
    ("name", "content", "changes", "message"),
    [
        ("a.jsonl", '{"words": "good"}\n{"word": "bad"}', ["data.text=words"],
         "a.jsonl, line 2 needs a column 'words'. Did you mean 'word'?"),
        ("a.jsonl", '{"words": "good", "label": 1}\n{"words": null, "label": 2}', ["data.text=words"],
         "a.jsonl, line 2: the words is empty"),
        ("a.jsonl", '{"words": "good"\n', ["data.text=words"], "a.jsonl, line 1 is not JSON"),
        ("a.jsonl", '["good"]', ["data.text=words"], "a.jsonl, line 1 must be a JSON object"),
        ("a.jsonl", "\n", ["data.text=words"], "a.jsonl has no rows"),
        ("a.parquet", "words", ["data.text=words"], "a.parquet is not a readable Parquet file"),
        ("a.jsonl", "", ["data.text=words", "data.source=jsonl:nowhere"], "no such JSON lines file"),
        ("x/a.txt", " ", ["data.source=text_folder:{}"], "a.txt is empty, but a text needs at least one"),
        ("x/a.txt", "\udcff", ["data.source=text_folder:{}"], "a.txt is not UTF-8 text"),
        ("x/a.csv", "good", ["data.source=text_folder:{}"], "the folder holds no .txt files"),
        ("a.csv", "words,label\ngood,1\nbad,2", ["data.text=words", "data.max_length=2"],
         "data.max_length must be larger than 2, the number of special tokens"),
        ("a.csv", "words,label\ngood,1\nbad,2", ['data.text=["words","answer"]'],
         "needs a column 'answer'"),
    ],
)  # fmt: skip
def test_mistakes_in_files_of_texts_are_one_line(place, tmp_path, name, content, changes, message):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    kind = name.rpartition(".")[2]
    with pytest.raises(UserError, match=re.sub(r"([.?()])", r"\\\1", message)) as error:
        rows_of(place, f"{kind}:{tmp_path / name}", *(change.format(tmp_path) for change in changes))
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("without_report")
def test_two_columns_are_pairs_whose_second_text_has_types(place, tmp_path):
    first, kinds = made_up(200)
    second, others = made_up(200, seed=1)
    same = [("differ", "agree")[a == b] for a, b in zip(kinds, others, strict=True)]
    rows = list(zip(first, second, same, strict=True))
    with open(tmp_path / "pairs.csv", "w", newline="") as file:
        csv.writer(file).writerows([("one", "two", "label"), *rows])
    words = [f"data.source=csv:{tmp_path}/pairs.csv", 'data.text=["one","two"]', "data.max_length=20"]
    both = config(place, tmp_path, *words, "data.limit=40")
    run = run_experiment(both.model_copy(update={"stages": both.stages[:1]}), tmp_path / "run")
    assert run.input_shape == {"ids": (20,), "mask": (20,), "types": (20,)}
    x = run.modality.tokenizer.encode([("good film", "bad")], 20)
    assert run.modality.texts({"ids": x["ids"], "mask": x["mask"]})[0] == [
        "[CLS]", "good", "film", "[SEP]", "bad", "[SEP]"]  # fmt: skip
    assert x["types"][0, :6].tolist() == [0, 0, 0, 0, 1, 1]
    answers = run.predict(list(zip(first, second, strict=True))[:5]).logits
    assert np.array_equal(answers, run.predict([f"{a}\t{b}" for a, b, _ in rows[:5]]).logits)
    inputs = {name: x[name] for name in x.dtype.names}
    flipped = inputs | {"types": 1 - inputs["types"]}
    assert not np.allclose(run.model.predict_on_batch(inputs), run.model.predict_on_batch(flipped))
    with pytest.raises(
        UserError, match=r"list of pairs of texts \(tuples, or a tab between them\). Received: str"
    ):
        run.predict(["good film"])
    words = [f"data.tokenizer={place}", "data.max_length=20"]
    arrays = {"all": ([row[:2] for row in rows], same)}
    loaded = load_domain(config(place, tmp_path, *words).data, seed=0, arrays=arrays)
    assert loaded.input_shape == run.input_shape


def test_pairs_of_strings_need_a_tokenizer(place, tmp_path):
    with pytest.raises(UserError, match=r"Pairs of texts need data.tokenizer"):
        run_experiment(
            config(place, tmp_path, "data.text=none", "data.tokenizer=none"),
            tmp_path / "run", data={"all": ([("a", "b"), ("c", "d")], [0, 1])},
        )  # fmt: skip


def test_a_run_is_evaluated_with_its_own_tokenizer(finished, place):
    before, elsewhere = finished.metrics["source"]["test"], place / "elsewhere.txt"
    (place / "vocab.txt").rename(elsewhere)
    try:
        assert load_run(finished.path).evaluate()["source"]["test"]["loss"] == before["loss"]
    finally:
        elsewhere.rename(place / "vocab.txt")


def test_vocabulary_and_json_are_the_same_tokenizer(finished):
    tokenizer = Tokenizer.read(finished.path)
    found = tokenizer.encode(["The FILM, was so good", "plot " * 40], 8)
    assert tokenizer.tokens(found["ids"][0]) == [
        "[CLS]",
        "the",
        "film",
        "[UNK]",
        "was",
        "so",
        "good",
        "[SEP]",
    ]
    assert tokenizer.tokens(found["ids"][1])[-2:] == ["plot", "[SEP]"] and found["mask"].all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["data.text=reviews"], "needs a column 'reviews'. Did you mean 'review'?"),
        (["data.tokenizer=none"], "Texts need a tokenizer: set data.tokenizer"),
        (["data.tokenizer=nowhere"], "data.tokenizer must be a tokenizer.json"),
        (["data.max_length=64"], "at most 32 tokens. Received: data.max_length=64"),
        (['model.backbone_options={"width":16,"depth":1,"heads":2,"hidden":8,"words":10}'],
         "data.tokenizer belongs to another model: it has 20 entries, but bert_base has 10"),
        (["model.backbone=small_cnn", "model.backbone_options={}"], "takes images.*the data are texts"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_touch_nothing(place, tmp_path, changes, message):
    with pytest.raises(UserError, match=re.sub(r"([.?])(?!\*)", r"\\\1", message)) as error:
        run_experiment(config(place, tmp_path, *changes), tmp_path / "run")
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


def test_empty_texts_and_what_is_no_text_are_refused(finished, place, tmp_path):
    (tmp_path / "reviews.csv").write_text("review,label\nfine,kind\n ,kind\n")
    with pytest.raises(UserError, match="line 3: the review is empty"):
        run_experiment(config(tmp_path, tmp_path, f"data.tokenizer={place}"), tmp_path / "run")
    for given, message in (
        ("fine", "x must be a list of texts"),
        ([], "Received: no text"),
        (["fine", 3], "Received: int"),
        (["fine", " "], r"A text must not be empty. Received: ' ' in row 1"),
    ):
        with pytest.raises(UserError, match=message):
            finished.predict(given)


def test_a_tokenizer_that_is_not_the_one_beside_the_weights_is_refused(place, tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*VOCABULARY[:-2], "awful", "dull"]))
    changes = [f"model.weights={tmp_path}", f"data.tokenizer={place}/vocab.txt"]
    message = r"vocab.txt next to the weights: 'awful' is 19 there and 18 here"
    with pytest.raises(UserError, match=message):
        run_experiment(config(place, tmp_path, *changes), tmp_path / "run")


def test_a_training_says_how_many_texts_are_cut(place):
    rows = rows_of(place, f"csv:{place}/reviews.csv", "data.text=review", "data.max_length=6")
    note = rows.modality.note_on_rows(rows.splits["train"], rows.config)
    assert re.fullmatch(
        r"\d\d% of the training texts .* data.max_length=6 tokens and are truncated.* has 9 tokens\.", note
    )
    rows = rows_of(place, f"csv:{place}/reviews.csv", "data.text=review", "data.max_length=12")
    assert not rows.modality.note_on_rows(rows.splits["train"], rows.config)


def test_without_the_package_one_line_says_what_to_install(place, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(UserError, match=r"Texts need the package tokenizers: pip install -e '.\[text\]'"):
        run_experiment(config(place, tmp_path), tmp_path / "run")


def test_the_page_to_try_a_run_takes_a_text(finished):
    answers = Answers(finished)
    answer = answers.of(b"the awful film")
    predictions = finished.predict(["the awful film"])
    assert answer["prediction"] == finished.class_names[predictions.predicted[0]]
    assert answer["words"][1:4] == ["the", "awful", "film"] and len(answer["weights"]) == 5
    assert answer["near"][0]["words"] and answer["image"] is None
    for content, reason in ((b" ", "is empty"), (b"\xff", "not UTF-8"), (b"a" * 20_001, "20,001 characters")):
        with pytest.raises(UserError, match=reason):
            answers.of(content)
