"""A probe that maps the source's features to the target's, from the config to the saved model."""

import numpy as np
import pytest
from variants import further

from tlkeras import run_experiment
from tlkeras.cli.main import main
from tlkeras.config import (
    AdaptationConfig,
    DataConfig,
    ExperimentConfig,
    HeadConfig,
    MappingConfig,
    ModelConfig,
    ProbeConfig,
    StageConfig,
)
from tlkeras.errors import UserError


@pytest.fixture
def config(tmp_path):
    """Two classes on vectors; the target shows the same samples turned a little and moved."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(np.eye(6) + 0.2 * rng.normal(size=(6, 6)))[0]
    turn *= np.sign(np.diag(turn))
    source, target = {}, {}
    for split, count in (("train", 200), ("val", 60), ("test", 200)):
        y = np.arange(count) % 2
        x = rng.normal(size=(count, 6)) * [4, 1, 1, 0.5, 0.2, 0.1] + 2.0 * y[:, None] * [0, 1, -1, 0, 0, 0]
        moved = x @ turn + [1, 3, -2, 0, 0, 0]
        source |= {f"x_{split}": x.astype(np.float32), f"y_{split}": y}
        target |= {f"x_{split}": moved.astype(np.float32), f"y_{split}": y}
    np.savez(tmp_path / "source.npz", **source)
    np.savez(tmp_path / "target.npz", **target)
    return ExperimentConfig(
        data=DataConfig(source=f"npz:{tmp_path / 'source.npz'}"),
        model=ModelConfig(backbone="none", weights=None),
        stages=[StageConfig(name="probe", probe=ProbeConfig())],
        adaptation=AdaptationConfig(
            method="none", target=DataConfig(source=f"npz:{tmp_path / 'target.npz'}"), twin=False
        ),
        cache={"dir": str(tmp_path / "cache"), "extractor": "exact"},
    )


def mapped(config, name, *, probe="logistic_regression", **options):
    mapping = MappingConfig(name=name, options=options) if name else None
    stage = StageConfig(name="probe", probe=ProbeConfig(name=probe, mapping=mapping))
    return config.model_copy(update={"stages": (stage,)})


def accuracy(run, domain="target"):
    return run.metrics[domain]["test"]["accuracy"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("linear_map", {}),
        further("coral", {"regularization": 1e-3}),
        further("subspace_alignment", {"dimensions": 6}),
    ],
)
def test_mapped_probe_answers_on_the_target(config, tmp_path, name, options):
    plain = run_experiment(mapped(config, None), tmp_path / "plain")
    run = run_experiment(mapped(config, name, **options), tmp_path / "run")
    assert accuracy(run) > accuracy(plain) + 0.1
    if name == "linear_map":  # which sees pairs, and so finds the way back
        assert accuracy(run) > 0.87


@pytest.mark.usefixtures("without_report")
def test_mapped_probe_and_its_twin_give_a_verdict(config, tmp_path):
    config = mapped(config, "coral", regularization=1e-3)
    adaptation = config.adaptation.model_copy(update={"twin": True, "seeds": 3})
    run = run_experiment(config.model_copy(update={"adaptation": adaptation}), tmp_path / "run")
    verdict = run.run_dir.read_json("evaluation/verdict.json")
    assert verdict["verdict"] == "helped"
    assert "mapping" in (run.path / "twin/config.json").read_text()
    twin = run.run_dir.read_json("twin/evaluation/metrics.json")
    assert twin["target"]["test"]["accuracy"] < accuracy(run)


@pytest.mark.usefixtures("without_report")
def test_knn_asks_mapped_rows(config, tmp_path):
    model = config.model.model_copy(update={"head": HeadConfig(name="neighbors")})
    config = config.model_copy(update={"model": model})
    plain = run_experiment(mapped(config, None, probe="knn"), tmp_path / "plain")
    run = run_experiment(mapped(config, "linear_map", probe="knn"), tmp_path / "run")
    assert accuracy(run) > accuracy(plain)
    with pytest.raises(UserError, match="Allowed: coral, linear_map"):
        run_experiment(mapped(config, "subspace_alignment", probe="knn"), tmp_path / "no")


def test_mapping_without_a_target_is_one_line(config):
    values = mapped(config, "coral").model_dump() | {"adaptation": None}
    with pytest.raises(ValueError, match=r"give adaptation.target"):
        ExperimentConfig.model_validate(values)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("corall", {}, "coral"),
        ("coral", {"axes": 3}, "refuses its options"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_written(config, tmp_path, name, options, message):
    with pytest.raises(UserError, match=message):
        run_experiment(mapped(config, name, **options), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_rows_that_have_no_partner_are_refused(config, tmp_path):
    target = dict(np.load(tmp_path / "target.npz"))
    arrays = {"x": target["x_train"], "y": target["y_train"]}
    np.savez(tmp_path / "target.npz", **arrays)  # rows of other names
    with pytest.raises(UserError, match="same id in source and target"):
        run_experiment(mapped(config, "linear_map"), tmp_path / "run")


def test_list_names_probes_and_mappings(capsys):
    for kind, names in (("probes", ("knn", "prototypes")), ("mappings", ("coral", "subspace_alignment"))):
        assert main(["list", kind]) == 0
        said = capsys.readouterr().out
        assert all(name in said for name in names)
