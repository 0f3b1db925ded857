"""Terms of one stage add up: what each does to the weights beside the others."""

import keras
import numpy as np
import pytest

from tlkeras import load_model, run_experiment
from tlkeras.config import DataConfig, ExperimentConfig, ModelConfig, StageConfig, TasksConfig
from tlkeras.errors import UserError
from tlkeras.methods.term import Pair, Setting, Term
from tlkeras.methods.training_model import TrainingModel
from tlkeras.prepare import prepare

pytestmark = pytest.mark.usefixtures("without_reports")

SGD = {"name": "sgd", "learning_rate": 0.05}
BLOBS = "synthetic:blobs?n=60&shift="
DANN = {
    "method": "dann",
    "target": DataConfig(source=BLOBS + "3,-3"),
    "twin": False,
    "options": {"units": [8]},
}


def config(**changes) -> ExperimentConfig:
    stage = StageConfig(name="tune", train="all", epochs=4, optimizer=SGD, **changes.pop("stage", {}))
    settings = {
        "data": DataConfig(source=BLOBS + "0,0", batch_size=16),
        "model": ModelConfig(backbone="mlp", weights=None, backbone_options={"units": [8]}),
        "stages": [stage],
    }
    return ExperimentConfig(**settings | changes)


def backbone(model) -> dict:
    return {v.path: v.numpy() for v in model.variables if "dense" in v.path and "head" not in v.path}


def rows_of(experiment) -> np.ndarray:
    """The training rows of the experiment's data."""
    return np.asarray(prepare(experiment).source.splits["train"].inputs, "float32")


def distance_to_start(run) -> float:
    start = backbone(prepare(run.config).model.to_functional())
    end = backbone(load_model(run.path / "best.keras"))
    assert start.keys() == end.keys() and start
    return float(sum(np.square(end[n] - start[n]).sum() for n in start))


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A run of DANN without further terms."""
    return run_experiment(config(adaptation=DANN), tmp_path_factory.mktemp("adapted") / "run")


def test_l2_sp_holds_what_dann_moves(adapted, tmp_path):
    held = {"regularizer": {"name": "l2_sp", "weight": 5.0}}
    free = distance_to_start(adapted)
    both = distance_to_start(run_experiment(config(adaptation=DANN, stage=held), tmp_path / "both"))
    assert both < 0.2 * free


def test_dann_still_draws_the_domains_together_beside_l2_sp(tmp_path):
    weak = {"regularizer": {"name": "l2_sp", "weight": 1e-4}}
    runs = [
        run_experiment(config(adaptation=adaptation, stage=weak), tmp_path / name)
        for name, adaptation in (("with", DANN), ("without", DANN | {"method": "none"}))
    ]
    left, right = (load_model(run.path / "best.keras").get_weights() for run in runs)
    assert any(not np.array_equal(a, b) for a, b in zip(left, right, strict=True))
    rows = (runs[0].path / "stages/00_tune/metrics.csv").read_text("utf-8").splitlines()
    assert "reversal_gradient_norm" in rows[0]


def test_a_teacher_is_followed_beside_cdan_e(tmp_path):
    """A teacher with turned answers, at a high weight, spoils what the student answers on the source."""
    taught = run_experiment(config(), tmp_path / "teacher")
    teacher = keras.models.load_model(taught.path / "best.keras", compile=False)
    head = teacher.layers[-1]
    kernel, bias = head.get_weights()
    head.set_weights([4 * kernel[:, ::-1], 4 * bias[::-1]])
    teacher.save(taught.path / "best.keras")
    accuracies = []
    for weight in (0.0, 50.0):
        distilled = {"name": "distillation", "weight": weight, "options": {"teacher": str(taught.path)}}
        experiment = config(adaptation=DANN | {"method": "cdan_e"}, stage={"regularizer": distilled})
        run = run_experiment(experiment, tmp_path / f"student{weight:.0f}")
        accuracies.append(run.metrics["source"]["test"]["accuracy"])
    assert accuracies[0] > 0.9 and accuracies[1] < 0.6


def test_bss_shrinks_the_features_of_shared_gradients(tmp_path):
    smallest = []
    for weight in (0.0, 3.0):
        experiment = config(
            stage={"regularizer": {"name": "bss", "weight": weight, "options": {"k": 4}}},
            tasks=TasksConfig(
                strategy="share_gradients", source=DataConfig(source=BLOBS + "1,1", batch_size=16)
            ),
        )
        run = run_experiment(experiment, tmp_path / f"bss{weight:.0f}")
        model = load_model(run.path / "target" / "best.keras")
        taps = keras.Model(model.inputs[0], model.layers[-1].input)
        features = taps(rows_of(experiment))
        smallest.append(np.linalg.svd(np.asarray(features), compute_uv=False)[-4:].sum())
    assert smallest[1] < 0.7 * smallest[0]


def test_class_weights_count_beside_an_adaptation(adapted, tmp_path):
    """A class of weight 0 is answered less often."""
    shares = []
    weighted = config(adaptation=DANN, stage={"class_weights": (1.0, 0.0)})
    for run in (adapted, run_experiment(weighted, tmp_path / "weighted")):
        logits = keras.ops.convert_to_tensor(load_model(run.path / "best.keras").predict(rows_of(run.config)))
        shares.append(float(keras.ops.mean(keras.ops.softmax(logits)[:, 1])))
    assert shares[1] < shares[0] - 0.05


def test_two_terms_that_exclude_each_other_are_refused_by_name(tmp_path):
    experiment = config(
        stage={"regularizer": {"name": "mixout"}},
        tasks=TasksConfig(strategy="share_gradients", source=DataConfig(source=BLOBS + "1,1", batch_size=16)),
    )
    with pytest.raises(UserError, match="share_gradients and mixout cannot train in the same stage") as error:
        run_experiment(experiment, tmp_path / "run")
    assert "\n" not in str(error.value) and not (tmp_path / "run" / "target" / "config.json").exists()


class Pull(Term):
    """Pulls the mean feature to a number."""

    def __init__(self, to):
        super().__init__()
        self.to = to

    def prepare(self, setting: Setting):
        self.shift = self.own.add_weight(name="shift", shape=(), initializer="zeros")

    def loss(self, features: Pair):
        return keras.ops.mean(keras.ops.square(features.source - self.to - self.shift))


def test_the_losses_of_terms_are_summed():
    """Two pulls to opposite sides cancel where they are added, and each trains its own variable."""
    x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
    encoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, kernel_initializer="ones")])
    classifier = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model = keras.Model(x_in := keras.Input((4,)), classifier(encoder(x_in)))
    model.features = lambda x, training=None: encoder(x)
    model.classify = lambda features, training=None: classifier(features)
    terms = (Pull(3.0), Pull(-3.0))
    trainee = TrainingModel(model, terms)
    trainee.compile(keras.optimizers.SGD(0.01), loss="mse")
    trainee.fit(x, np.zeros((32, 1)), epochs=1, batch_size=32, verbose=0, shuffle=False)
    shifts = [float(term.shift.value) for term in terms]
    assert shifts[0] < 0 < shifts[1]
    assert abs(shifts[0] + shifts[1]) < 0.5 * shifts[1]
