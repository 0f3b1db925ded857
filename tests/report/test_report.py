"""The report page: everything in it, nothing from outside, nothing of the user's taken for markup."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from tlkeras.cli.main import main
from tlkeras.errors import UserError
from tlkeras.evaluation import Predictions
from tlkeras.report import write_report
from tlkeras.run_dir import CheckpointStore, RunDir

VOID = {"meta", "link", "img", "br"}
HOSTILE = "<script>alert(1)</script>\"'&$x^$"


class Outline(HTMLParser):
    """Checks that tags are closed and collects what tests ask for."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.tags, self.ids, self.links, self.addresses = [], [], [], [], []
        self.images, self.unnamed = [], 0
        self.feed(text)
        assert not self.stack, self.stack

    def handle_starttag(self, tag, attributes):
        facts = dict(attributes)
        self.tags.append(tag)
        self.ids += [facts["id"]] if "id" in facts else []
        self.addresses += [facts[k] for k in ("src", "href", "xlink:href") if facts.get(k)]
        if tag == "img":
            self.images.append(facts)
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag):
        assert self.stack and self.stack[-1] == tag, (tag, self.stack[-3:])
        self.stack.pop()


def test_train_writes_a_page_that_holds_everything(trained):
    text = (trained / "report.html").read_text()
    page = Outline(text)
    for heading in ("Summary", "Curves", "Results", "Feature space", "Data", "Config", "Environment"):
        assert f">{heading}</h2>" in text
    for part in ("Confusion", "Classes", "Calibration", "Largest losses", "Smallest losses"):
        assert re.search(f"<h3>{part}", text)
    accuracy = json.loads((trained / "evaluation/metrics.json").read_text())["source"]["test"]["accuracy"]
    assert f"{100 * accuracy:.1f} %" in text
    assert len(page.images) == 2 * 12 + 3 * 8 and all(image["alt"] for image in page.images)
    # a page that knows how large its pictures are keeps its place while they load
    assert all(int(image["width"]) and int(image["height"]) for image in page.images)
    assert page.tags.count("h1") == 1 and 'lang="en"' in text
    assert page.tags.count("table") == page.tags.count("caption")
    assert len(set(page.ids)) == len(page.ids)


def test_the_page_asks_for_nothing(trained):
    text = (trained / "report.html").read_text()
    page = Outline(text)
    inside = {f"#{name}" for name in page.ids}
    assert all(a.startswith("data:") or a in inside for a in page.addresses)
    assert "script" not in page.tags and "script-src 'none'" in text
    assert not re.search(r"url\((?!#)|@import|https?://", text)


def test_figures_take_their_colours_from_the_page(trained):
    text = (trained / "report.html").read_text()
    drawings = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert "var(--ink)" in drawings and "var(--c1)" in drawings
    assert not re.search(r"#[0-9a-f]{6}\b", drawings)
    assert "prefers-color-scheme: dark" in text
    assert "darker" not in text  # on a dark page the stronger colour is the lighter one


def test_the_epoch_that_was_kept_is_told(trained, run_copy):
    store = RunDir(trained).path / "stages/best"
    state = CheckpointStore(store).load()[1]
    assert CheckpointStore(store).state() == state
    stage = json.loads((trained / "config.json").read_text())["stages"][state["stage"]]["name"]
    told = f"epoch {state['epoch']} of {stage}, by val accuracy {state['value']:.4g}"
    text = (trained / "report.html").read_text()
    assert told in text and "the triangle on the axis marks the epoch whose weights were kept" in text
    (file,) = (run_copy / "stages/best").iterdir()
    for damage in (b"", file.read_bytes()[:100]):  # a page is made all the same, and names no epoch
        file.write_bytes(damage)
        text = write_report(run_copy).read_text()
        assert "Summary" in text and "<dt>kept</dt>" not in text and "the triangle on" not in text


def test_names_of_users_are_text(run_copy, tmp_path):
    manifest = json.loads((run_copy / "manifest.json").read_text())
    names = [HOSTILE, "Ünïcödé 猫", "a\tb", "d"]
    (run_copy / "manifest.json").write_text(json.dumps(manifest | {"class_names": names}))
    _rename_classes(run_copy, names)
    index = json.loads((run_copy / "evaluation/gallery/index.json").read_text())
    index[0] |= {"id": f"{HOSTILE}\udc80.png", "label": HOSTILE}
    index[0]["neighbors"][0] |= {"id": HOSTILE, "label": HOSTILE}
    (run_copy / "evaluation/gallery/index.json").write_text(json.dumps(index))
    text = write_report(run_copy).read_text()
    Outline(text)
    assert "<script" not in text and "alert(1)&lt;/script&gt;" in text
    assert "猫" in text and "\\udc80.png" in text


def _rename_classes(run, names):
    for path in (run / "evaluation").glob("predictions_*.npz"):
        old = Predictions.load(path)
        Predictions(old.ids, old.labels, old.logits, old.probabilities, tuple(names), old.task).save(path)
    metrics = json.loads((run / "evaluation/metrics.json").read_text())
    for split in metrics["source"].values():
        split["per_class"] = dict(zip(names, split["per_class"].values(), strict=True))
    (run / "evaluation/metrics.json").write_text(json.dumps(metrics))


def test_the_verdicts_against_all_twins_are_told(run_copy):
    first = {"verdict": "helped", "sentence": "The transfer helped.", "warning": None}
    second = {"verdict": "no_difference", "sentence": "No difference from a probe.", "warning": None}
    content = first | {"twins": {"scratch": first, "frozen_probe": second}}
    (run_copy / "evaluation/verdict.json").write_text(json.dumps(content))
    page = write_report(run_copy).read_text("utf-8")
    assert page.count("The transfer helped.") == page.count("No difference from a probe.") == 1
    assert page.index("The transfer helped.") < page.index("No difference from a probe.")


def test_verdict_and_data_health_are_told(run_copy):
    verdict = {"verdict": "hurt", "sentence": "The transfer hurt: so it is.", "warning": "Look out."}
    (run_copy / "evaluation/verdict.json").write_text(json.dumps(verdict))
    health = json.loads((run_copy / "evaluation/data_health.json").read_text())
    health["source"] |= {
        "duplicates": [[["train", "a.png"], ["test", "b.png"]]], "duplicates_count": 1,
        "skipped": [["broken.png", "is cut short"]], "skipped_count": 1,
        "conflicts": [[["train", "a.png", "cat"], ["train", "c.png", "dog"]]], "conflicts_count": 1,
    }  # fmt: skip
    (run_copy / "evaluation/data_health.json").write_text(json.dumps(health))
    text = write_report(run_copy).read_text()
    assert 'badge bad">hurt<' in text and "so it is." in text and "Look out." in text
    assert "train a.png = test b.png" in text and "broken.png is cut short" in text
    assert "train c.png (dog)" in text


def test_few_rows_are_spoken_of_and_runs_without_neighbours_are_shown(run_copy):
    metrics = json.loads((run_copy / "evaluation/metrics.json").read_text())
    metrics["source"]["val"]["rows"] = 4
    (run_copy / "evaluation/metrics.json").write_text(json.dumps(metrics))
    index = json.loads((run_copy / "evaluation/gallery/index.json").read_text())
    for entry in index:
        del entry["neighbors"]
    (run_copy / "evaluation/gallery/index.json").write_text(json.dumps(index))
    text = write_report(run_copy).read_text()
    assert "few rows in source val: one row of source val is 25 points" in text
    assert len(Outline(text).images) == 2 * 12 and "Nearest training rows" not in text


def test_a_run_that_has_just_begun_has_a_page_too(run_copy):
    shutil.rmtree(run_copy / "evaluation")
    shutil.rmtree(run_copy / "stages")
    (run_copy / "ledger.jsonl").unlink()
    (run_copy / "manifest.json").unlink()
    text = write_report(run_copy).read_text()
    Outline(text)
    assert "not finished yet" in text and "Nothing was evaluated yet" in text


@pytest.mark.parametrize("task", ["regression", "multilabel", "binary"])
def test_other_tasks(run_copy, task):
    from tlkeras.evaluation import compute_metrics

    rng = np.random.default_rng(0)
    shutil.rmtree(run_copy / "evaluation")
    width = {"binary": 1, "multilabel": 3, "regression": 2}[task]
    labels = rng.normal(size=(40, 2)) if task == "regression" else rng.integers(0, 2, (40, width))
    names = {"binary": ("no", "yes"), "multilabel": ("a", "b", "c"), "regression": ()}[task]
    found = Predictions.from_logits(rng.normal(size=(40, width)), task=task, labels=labels, class_names=names)
    (run_copy / "evaluation").mkdir()
    found.save(run_copy / "evaluation/predictions_test.npz")
    metrics = {"source": {"test": compute_metrics(found)}}
    (run_copy / "evaluation/metrics.json").write_text(json.dumps(metrics))
    text = write_report(run_copy).read_text()
    Outline(text)
    assert ("Calibration" in text) == (task != "regression")
    assert ("Confusion" in text) == (task == "binary")


def test_many_classes_are_shown_by_their_worst(run_copy):
    from tlkeras.evaluation import compute_metrics

    rng, classes = np.random.default_rng(0), 120
    labels = np.arange(2 * classes) % classes
    logits = rng.normal(size=(2 * classes, classes))
    logits[labels != 7, labels[labels != 7]] += 9
    names = [f"class {i}" for i in range(classes)]
    found = Predictions.from_logits(logits, task="multiclass", labels=labels, class_names=names)
    found.save(run_copy / "evaluation/predictions_test.npz")
    metrics = json.loads((run_copy / "evaluation/metrics.json").read_text())
    metrics["source"]["test"] = compute_metrics(found)
    (run_copy / "evaluation/metrics.json").write_text(json.dumps(metrics))
    text = write_report(run_copy).read_text()
    page = Outline(text)
    assert "The 40 weakest of 120 classes" in text and "class 7<" in text
    assert page.addresses and len(text) < 1_500_000
    assert 'class="confusion"' not in text


def test_the_command(run_copy, tmp_path, capsys):
    assert main(["report", str(run_copy), f"--output={tmp_path / 'page.html'}"]) == 0
    assert (tmp_path / "page.html").read_bytes() == write_report(run_copy).read_bytes()
    assert str(tmp_path / "page.html") in capsys.readouterr().out
    assert main(["report"]) == 2
    assert main(["report", str(tmp_path)]) == 2
    assert "is not a run directory" in capsys.readouterr().err
    with pytest.raises(UserError, match="damaged"):
        (run_copy / "evaluation/metrics.json").write_text("{")
        write_report(run_copy)
