"""Studies of columns, texts and rows of several parts: rank, auto, merge, two tasks work, or say why not."""

import contextlib
import csv
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from modality_runs import BERT, WORDS, write
from variants import further

from tlkeras import load_config, load_run, run_experiment
from tlkeras.config import TasksConfig
from tlkeras.errors import UserError
from tlkeras.studies.auto import auto
from tlkeras.studies.merge import merge_runs
from tlkeras.studies.rank import rank

pytestmark = pytest.mark.usefixtures("without_reports")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    for kind in ("text", "columns", "image_text", "image_text_columns"):
        write(kind, folder / kind)
    return folder


def config(place, kind, *words):
    return load_config(str(place / kind / "config.json"), [f"cache.dir={place}/cache", *words])


def test_rank_scores_networks_of_columns(place, tmp_path):
    table = rank(config(place, "columns"), "none:none,mlp:none", tmp_path / "ranking")
    assert [row["candidate"] for row in table if row.get("error")] == []
    accuracy = {row["candidate"]: float(row["probe_accuracy"]) for row in table}
    assert set(accuracy) == {"none", "mlp"} and accuracy["none"] > 0.7  # ages differ by two deviations
    widths = {row["candidate"]: row["features"] for row in table}
    assert widths["none"] == 1 + 2 + 0  # the age, and two cities; nothing is missing


def test_rank_reads_texts_with_the_tokenizer_beside_the_weights(place, tmp_path):
    run = run_experiment(config(place, "text"), tmp_path / "run")
    words = ["data.tokenizer=none"]
    table = rank(config(place, "text", *words), f"{run.path},bert_base:{run.path}", tmp_path / "ranking")
    assert [row.get("error", "") for row in table] == ["", ""]
    assert min(float(row["probe_accuracy"]) for row in table) > 0.8
    with pytest.raises(UserError, match="Texts need a tokenizer"):
        rank(config(place, "text", *words), "bert_base:none", tmp_path / "none")


@pytest.mark.parametrize("study", [rank, auto])
def test_rows_of_several_parts_are_refused_before_anything_is_written(place, tmp_path, study):
    if study is auto:
        pytest.importorskip("optuna")
    with pytest.raises(UserError, match=r"rows of one part.*Received: model\.beside"):
        given = {"budget": 5.0} if study is auto else {}
        study(config(place, "image_text"), workdir=tmp_path / "study", candidates="small_cnn:none", **given)
    assert not (tmp_path / "study").exists()


def test_auto_searches_over_columns(place, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    module, clock = sys.modules[auto.__module__], SimpleNamespace(now=0.0)
    train = module.run_experiment

    def takes_all_the_time(config, folder):
        run = train(config, folder)
        clock.now += 12
        return run

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(module, "alarm", lambda seconds: contextlib.nullcontext())
    monkeypatch.setattr(module, "run_experiment", takes_all_the_time)
    auto(config(place, "columns"), tmp_path / "auto", budget=12.0, candidates="mlp:none")
    assert list(load_config(str(tmp_path / "auto/best.json")).data.columns) == ["age", "city"]
    first = load_run(tmp_path / "auto/trials/000")
    assert first.modality.name == "columns" and (first.path / "columns.json").is_file()


@pytest.mark.parametrize("kind", ["columns", further("image_text_columns")])
def test_merged_runs_keep_what_their_inputs_need(place, tmp_path, kind):
    runs = [
        run_experiment(config(place, kind, f"stages.1.optimizer.learning_rate={rate}"), tmp_path / str(rate))
        for rate in (0.01, 0.003)
    ]
    soup = merge_runs([run.path for run in runs], tmp_path / "soup", "uniform")
    assert json.loads((soup.path / "columns.json").read_text())["city"]["values"] == ["Oslo", "Rome"]
    cells = {"age": [30, None], "city": ["Rome", "Lima"]}
    x = cells if kind == "columns" else {"text": ["plain good", None], "columns": cells}
    assert np.isfinite(soup.predict(x).logits).all()


def test_two_tasks_take_texts_and_refuse_columns(place, tmp_path):
    source = config(place, "text").data.model_dump(mode="json")
    tasks = {"strategy": "share_weights", "source": source, "stages": [{"name": "source", "epochs": 1}]}
    run = run_experiment(
        config(place, "text").model_copy(update={"tasks": TasksConfig(**tasks)}), tmp_path / "tasks"
    )
    assert {"source", "target"} <= set(run.before_and_after)
    with pytest.raises(UserError, match=r"two tasks have no common part.*data\.columns=age,city"):
        of_columns = config(place, "columns").model_copy(update={"tasks": TasksConfig(**tasks)})
        run_experiment(of_columns, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_predict_reads_the_text_column_of_a_list_for_a_run_without_columns(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    rng = np.random.default_rng(0)
    good = rng.integers(2, size=80)
    words = zip(rng.choice(WORDS[7:], 80), good, strict=True)
    texts = [f"{word} {('bad', 'good')[kind]}" for word, kind in words]
    for number, (text, kind) in enumerate(zip(texts, good, strict=True)):
        folder = tmp_path / "texts" / ("unkind", "kind")[kind]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.txt").write_text(text)
    tree = {
        "data": {"source": f"text_folder:{tmp_path}/texts", "tokenizer": str(tmp_path), "max_length": 8},
        "model": BERT, "stages": [{"name": "all", "train": "all", "epochs": 1}],
    }  # fmt: skip
    run = run_experiment(load_config(tree), tmp_path / "run")
    with open(tmp_path / "new.csv", "w", newline="") as file:
        csv.writer(file).writerows([("id", "text"), *enumerate(texts[:5])])
    found, skipped = run.predict_files(tmp_path / "new.csv")
    np.testing.assert_allclose(found.logits, run.predict(texts[:5]).logits, atol=1e-5)
    assert list(found.ids) == [f"line:{i}" for i in range(2, 7)] and not skipped
    (tmp_path / "new.csv").write_text("words\nplain good\n")
    with pytest.raises(UserError, match=r"needs a column 'text'.*Received: columns words"):
        run.predict_files(tmp_path / "new.csv")
    pairs = run_experiment(
        load_config(tree, ["data.source=arrays"]), tmp_path / "pairs",
        data={"all": (np.array(list(zip(texts, texts[::-1], strict=True)), object), good)},
    )  # fmt: skip
    with open(tmp_path / "pairs.csv", "w", newline="") as file:
        csv.writer(file).writerows([("text", "text_pair"), *zip(texts[:4], texts[::-1][:4], strict=True)])
    (tmp_path / "pairs.txt").write_text("\n".join("\t".join(p) for p in zip(texts, texts[::-1], strict=True)))
    wanted = pairs.predict(list(zip(texts, texts[::-1], strict=True))).logits
    for name, count in (("pairs.csv", 4), ("pairs.txt", 80)):
        np.testing.assert_allclose(pairs.predict_files(tmp_path / name)[0].logits, wanted[:count], atol=1e-5)
