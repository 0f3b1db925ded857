"""Importance weights: their numbers beside those of the package adapt, and a stage that trains with them."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from tlkeras import adaptation, load_config, run_experiment
from tlkeras.errors import UserError
from tlkeras.methods.adapt import make_method
from tlkeras.methods.adapt.reweighting import DomainOdds
from tlkeras.prepare import prepare
from tlkeras.run_dir import RunDir
from tlkeras.settled_config import checked
from tlkeras.training.checkpoints import Checkpoint
from tlkeras.training.row_weights import FILE, effective_rows
from tlkeras.training.stage_batches import StageBatches
from tlkeras.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("without_reports")

# of adapt 0.4.5: KMM(gamma=.5, tol=1e-10), KMM(gamma=.5, B=1.5, eps=.05), KLIEP(gamma=.5, algo="PG",
# tol=1e-12), IWC(LogisticRegression())
KMM = [2.3155, 0.2275, 1.7373, 3.2997, 0, 0, 0, 0, 0, 2.5349, 1.6381, 0]
BOUNDED = [1.5, 1.5, 1.5, 1.5, 0.4792, 0, 0.4208, 0, 0, 1.5, 1.5, 1.5]
KLIEP = [0.6909, 1.3084, 0.6142, 3.2922, 0.0286, 0.3706, 0.0072, 0.0357, 0.2431, 2.8842, 2.0241, 0.5008]
ODDS = [0.5724, 0.9468, 0.5241, 2.7077, 0.1451, 0.3944, 0.1056, 0.1491, 0.3205, 1.6052, 1.4264, 0.4775]


SAVED = ("checkpoint.every_steps=10",)


def two_domains():
    rng = np.random.default_rng(0)
    return rng.normal(size=(12, 2)).round(2), (rng.normal(size=(10, 2)) * 0.8 + 0.5).round(2)


def test_the_weights_are_those_of_the_package_adapt():
    source, target = two_domains()
    for found, expected in (
        (adaptation.kmm(source, target, gamma=0.5), KMM),
        (adaptation.kmm(source, target, gamma=0.5, bound=1.5, slack=0.05), BOUNDED),
        (adaptation.kliep(source, target, gamma=0.5), KLIEP),
        (adaptation.domain_odds(source, target, folds=1) * len(target) / len(source), ODDS),
    ):
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_weights_find_the_rows_that_look_like_the_target():
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(200, 3)), rng.normal(size=(100, 3)) * 0.7 + [1, 0, 0]
    true = np.exp(-((source - [1, 0, 0]) ** 2).sum(1) / 0.98 + (source**2).sum(1) / 2)
    for name in ("kmm", "kliep", "domain_odds"):
        found = make_method(name).weights(source, target)
        assert found.mean() == pytest.approx(1, abs=1e-5), name
        assert np.corrcoef(found, true)[0, 1] > 0.35, name  # weights of kmm are sparse
        # the weighted mean of the source moves to the target
        assert (found @ source[:, 0] / len(found)) > 0.6, name
        flat = make_method(name)
        flat.weight = 0.0
        np.testing.assert_array_equal(flat.weights(source, target), np.ones(200, np.float32))


def config(*words):
    settings = ["adaptation.method=domain_odds", "adaptation.options={}", "adaptation.strength={}"]
    settings += ["stages.0.steps=30", "stages.0.validate_every=2", "adaptation.twin=false"]
    return load_config("moons_dann", [*settings, "adaptation.weight=1", *words])


def trained(path, *words):
    """Trains the one stage of a run and returns its last checkpoint."""
    Trainer(prepare(checked(config(*words))), RunDir(path)).train()
    return load_file(next(path.glob("stages/00_adapt/checkpoint/step-0000000030.*")))


@pytest.fixture(scope="module")
def reweighted(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights")
    return path, trained(path, *SAVED)


def test_the_weights_of_a_stage_stand_beside_its_rows(reweighted):
    with np.load(reweighted[0] / "stages" / "00_adapt" / FILE) as stored:
        weights = stored["source"]
    parts = prepare(config())
    batches = StageBatches(parts)
    batches.row_weights = {"source": weights}
    rows = parts.source.splits["train"]
    of_row = {tuple(x): w for x, w in zip(np.asarray(rows.inputs, np.float32), weights, strict=True)}
    stage = parts.config.stages[0]
    steps = type("Steps", (), {"total": 12})
    for x, _, weight in batches.training(stage, steps, first_step=7):
        assert [of_row[tuple(row)] for row in x.numpy()] == weight.numpy().tolist()
    assert 10 < effective_rows(weights) < len(weights)


def test_weight_0_trains_to_the_bits_of_the_source_alone(tmp_path):
    flat = trained(tmp_path / "flat", "adaptation.weight=0")
    alone = trained(tmp_path / "none", "adaptation.method=none")
    own = [name for name in alone if name.startswith("model/")]
    assert len(own) == 4
    for name in own:
        np.testing.assert_array_equal(flat[name], alone[name])


def test_a_resumed_stage_trains_on_with_the_same_weights(reweighted, tmp_path, monkeypatch):
    save = Checkpoint.save

    def stop(self, **more):
        save(self, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, *SAVED)
    monkeypatch.undo()
    # if the weights were computed again, they would be others
    monkeypatch.setattr(DomainOdds, "estimate", lambda self, source, target, seed: np.ones(len(source)))
    found, expected = trained(tmp_path, *SAVED), reweighted[1]
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["adaptation.weight=2"], "to the power of adaptation.weight"),
        (["adaptation.strength.value=2"], "leave adaptation.strength out"),
        (["adaptation.batch_norm=domain_specific"], "no statistics of the target"),
        (["stages.0.augment.mixup=0.2"], "mixup and cutmix mix them"),
        (["adaptation.options.fold=3"], "Did you mean 'folds'"),
    ],
)
def test_settings_without_effect_are_refused(words, message, tmp_path):
    with pytest.raises(UserError, match=message):
        run_experiment(config(*words), tmp_path / "run")
    assert not (tmp_path / "run").exists()
