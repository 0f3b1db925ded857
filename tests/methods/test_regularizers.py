"""What each regularizer does to the weights of a small network, through the run's own trainer."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from variants import further

from tlkeras import run_experiment
from tlkeras.config import DataConfig, ExperimentConfig, ModelConfig, StageConfig
from tlkeras.errors import UserError
from tlkeras.methods.regularize import make_regularizer
from tlkeras.methods.term import Pair, Setting
from tlkeras.models import build_model
from tlkeras.prepare import prepare
from tlkeras.run_dir import RunDir
from tlkeras.training.checkpoints import Checkpoint
from tlkeras.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("without_reports")

SGD = {"name": "sgd", "learning_rate": 0.05}


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    y = np.arange(64) % 3
    x = (rng.integers(0, 120, (64, 8, 8, 3)) + 60 * y[:, None, None, None]).astype(np.uint8)
    return {"train": (x[:48], y[:48]), "val": (x[48:56], y[48:56]), "test": (x[56:], y[56:])}


def fine_tuned(folder, pictures, regularizer=None, name="run", train="all", epochs=3, weights=None, **stage):
    """Trains two stages, the second regularised, and returns (start, end, trainer)."""
    stages = [
        StageConfig(name="head", epochs=2, optimizer=SGD),
        StageConfig(name="tune", train=train, epochs=epochs, optimizer=SGD, regularizer=regularizer, **stage),
    ]
    config = ExperimentConfig(
        data=DataConfig(source="npz:memory", image_size=8, batch_size=16),
        model=ModelConfig(backbone="small_cnn", weights=weights, backbone_options={"filters": [4, 6]}),
        stages=stages,
        cache={"dir": str(folder / "cache"), "extractor": "exact"},
    )
    parts = prepare(config, pictures)
    trainer = Trainer(parts, RunDir(folder / name))
    trainer.check()
    start = values(parts.model)
    trainer.run_dir.start(config.model_dump(mode="json"))
    try:
        trainer.train()
    finally:
        trainer.run_dir.lock.release()
    trainer.states.load_end(1)
    return start, values(parts.model), trainer


@pytest.fixture
def train(tmp_path, pictures):
    """`fine_tuned` in the folder of the test."""
    return functools.partial(fine_tuned, tmp_path, pictures)


@pytest.fixture(scope="module")
def plain(tmp_path_factory, pictures):
    """Returns the weights after plain fine-tuning, which is done once for each `bn`."""
    folder = tmp_path_factory.mktemp("plain")
    return functools.cache(lambda bn: fine_tuned(folder, pictures, None, bn, bn=bn)[1])


def values(model) -> dict:
    return {v.path: v.numpy() for v in model.variables}


def moved(start, end) -> dict:
    """Largest change of the backbone's kernels."""
    return {n: np.abs(end[n] - start[n]).max() for n in start if "conv" in n and n.endswith("kernel")}


@pytest.mark.parametrize("name", ["l2_sp", "delta", "bss", "mixout"])
@pytest.mark.parametrize("bn", ["train", further("frozen")])
def test_weight_zero_is_plain_fine_tuning_bit_for_bit(train, plain, name, bn):
    _, zero, _ = train({"name": name, "weight": 0}, "zero", bn=bn)
    for path, expected in plain(bn).items():
        np.testing.assert_array_equal(expected, zero[path], err_msg=path)


def test_l2_sp_keeps_the_start_and_lets_the_head_go(train, plain):
    start, held, _ = train({"name": "l2_sp", "weight": 20.0}, "held", bn="train")  # 20 * .05: straight back
    assert max(moved(start, held).values()) < 0.2 * max(moved(start, plain("train")).values())
    head = next(n for n in start if n.endswith("logits/kernel"))
    assert np.abs(held[head] - start[head]).max() > 0.01


def test_l2_sp_goes_back_to_what_the_first_stage_began_with(train, tmp_path, pictures):
    stages = [
        StageConfig(name="first", train="all", epochs=3, bn="train", optimizer=SGD),
        StageConfig(name="back", train="all", epochs=3, bn="train", optimizer=SGD,
                    regularizer={"name": "l2_sp", "weight": 20.0}),
    ]  # fmt: skip
    config = ExperimentConfig(
        data=DataConfig(source="npz:memory", image_size=8, batch_size=16),
        model=ModelConfig(backbone="small_cnn", weights=None, backbone_options={"filters": [4, 6]}),
        stages=stages,
    )
    parts = prepare(config, pictures)
    trainer = Trainer(parts, RunDir(tmp_path / "run"))
    start = values(parts.model)
    trainer.run_dir.start(config.model_dump(mode="json"))
    trainer.train()
    trainer.states.load_end(0)
    between = values(parts.model)
    trainer.states.load_end(1)
    end = values(parts.model)
    assert max(moved(start, end).values()) < 0.3 * max(moved(start, between).values())


def test_delta_keeps_the_feature_maps_near_the_start(train, pictures):
    apart = []
    for regularizer in (None, {"name": "delta", "weight": 2.0}):
        start, _, trainer = train(regularizer, str(regularizer)[:4], bn="inference")
        x = pictures["train"][0].astype("float32")
        after = trainer.model.backbone(trainer.model.preprocess(x)).numpy()
        for variable in trainer.model.variables:
            variable.assign(start[variable.path])
        apart.append(np.abs(after - trainer.model.backbone(trainer.model.preprocess(x)).numpy()).mean())
    assert apart[1] < 0.5 * apart[0]


@pytest.mark.parametrize("shape", [(12, 5), (5, 12)])
@pytest.mark.parametrize("known", [True, False])
def test_bss_is_the_sum_of_the_smallest_squares(shape, known):
    features = np.random.default_rng(0).normal(size=shape).astype("float32")
    expected = (np.linalg.svd(features, compute_uv=False)[-2:] ** 2).sum()
    bss = make_regularizer("bss", options={"k": 2})

    @tf.function(input_signature=[tf.TensorSpec((shape[0] if known else None, shape[1]))])
    def loss(x):
        return bss.loss(Pair(x, None))

    assert float(loss(features)) == pytest.approx(expected, rel=1e-4)


def test_bss_makes_the_smallest_singular_value_smaller(train, pictures):
    smallest = []
    for regularizer in (None, {"name": "bss", "weight": 1.0}):
        _, _, trainer = train(regularizer, str(regularizer)[:4], bn="train", epochs=8)
        features = trainer.model.features(pictures["train"][0][:16].astype("float32"), training=False)
        smallest.append(np.linalg.svd(features, compute_uv=False)[-1])
    assert smallest[1] < smallest[0]


def test_mixout_moves_less_and_is_not_plain(train, plain):
    start, mixed, _ = train({"name": "mixout", "weight": 0.5}, "mixed", bn="train")
    fine_tuned = plain("train")
    assert any(np.abs(fine_tuned[n] - mixed[n]).max() > 1e-6 for n in moved(start, fine_tuned))
    statistics = [n for n in start if n.endswith("moving_mean")]
    assert all(np.abs(mixed[n] - start[n]).max() > 1e-6 for n in statistics)  # the layers' own updates count


def test_lora_changes_kernels_by_a_matrix_of_its_rank(train):
    start, end, trainer = train({"name": "lora", "options": {"rank": 2}}, "lora", bn="frozen")
    name = next(n for n in start if n.endswith("conv_2/kernel"))
    change = (end[name] - start[name]).reshape(-1, start[name].shape[-1])
    singular = np.linalg.svd(change, compute_uv=False)
    assert singular[1] > 1e-7 and singular[2] < 1e-5 * singular[0]
    others = [n for n in start if ("bn" in n or n.endswith("conv_1/bias")) and "head" not in n]
    for path in others:
        np.testing.assert_array_equal(start[path], end[path])
    assert not any("lora" in v.path for v in trainer.model.to_functional().variables)


def test_lora_updates_the_layers_that_which_names():
    options = {"width": 12, "depth": 2, "heads": 3, "patch": 8}
    config = ModelConfig(backbone="vit_tiny", weights=None, backbone_options=options)
    model = build_model(config, input_shape=(16, 16, 3), num_outputs=3)
    model.select("last:1")
    setting = Setting(model, stage=StageConfig(name="a", train="last:1"))
    matrices = {"query": 24, "key": 24, "value": 24, "output": 24, "mlp_1": 60, "mlp_2": 60}
    for which in (["query", "value"], ["attention"], ["mlp"], ["mlp_2"], None):
        term = make_regularizer("lora", options={"rank": 2, "which": which})
        term.act_on(setting)
        part = {"attention": ["query", "key", "value", "output"], "mlp": ["mlp_1", "mlp_2"]}
        names = list(matrices) if which is None else [n for word in which for n in part.get(word, [word])]
        trained = sum(np.prod(v.shape) for v in term.own.trainable_variables)
        assert trained == 2 * sum(matrices[name] for name in names)
    with pytest.raises(UserError, match="whose name has one of the words quary in the opened blocks"):
        make_regularizer("lora", options={"which": ["quary"]}).act_on(setting)


@pytest.mark.parametrize(
    ("backbone", "options"),
    [
        ("vit_tiny", {"width": 12, "depth": 2, "heads": 3, "patch": 8}),
        ("swin_tiny", {"width": 12, "depths": [2, 2], "heads": 1, "window": 2}),
        ("convnextv2_atto", {"depths": [1, 2], "width": 4}),
    ],
)
def test_lora_has_the_gradients_of_the_summed_kernels_and_the_outputs_of_the_network(backbone, options):
    rng = np.random.default_rng(0)
    config = ModelConfig(backbone=backbone, weights=None, backbone_options=options)
    model = build_model(config, input_shape=(32, 32, 3), num_outputs=3)
    model.select("last:1")
    term = make_regularizer("lora", options={"rank": 2, "alpha": 4})
    term.act_on(Setting(model, stage=StageConfig(name="a", train="last:1")))
    for _, b in term._pairs:
        b.assign(rng.normal(0, 0.1, b.shape))
    term.after_update()
    x, variables = rng.uniform(0, 255, (4, 32, 32, 3)).astype("float32"), term.own.trainable_variables

    def gradients():
        with tf.GradientTape() as tape:
            _, logits = term.forward(model, x, 0)
            loss = tf.reduce_sum(logits**2)
        return logits.numpy(), tape.gradient(loss, [v.value for v in variables])

    logits, beside = gradients()
    np.testing.assert_array_equal(logits, model(x, training=True))
    assert len(term._products) >= 2
    term._products = {}
    summed, through_sums = gradients()
    np.testing.assert_allclose(logits, summed, rtol=1e-5, atol=1e-6)
    for one, other in zip(beside, through_sums, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5 * np.abs(other).max())
        assert np.abs(other).max() > 0


@pytest.mark.parametrize(
    ("weight", "options", "message"),
    [
        (1.0, {"alpha": 8}, r"a weight or alpha.* Received: weight=1.0, options.alpha=8"),
        (None, {"which": "query"}, r"list of words.* Received: options.which='query'"),
        (None, {"which": []}, r"list of words.* Received: options.which=\[\]"),
    ],
)
def test_contradicting_options_of_lora_are_refused(weight, options, message):
    with pytest.raises(UserError, match=message):
        make_regularizer("lora", weight, options)


def test_lora_with_averaged_weights_is_refused():
    stage = StageConfig(name="tune", train="all", optimizer={"ema_momentum": 0.9})
    with pytest.raises(UserError, match=r"not reach the kernels.*stages.tune.optimizer.ema_momentum=0.9"):
        make_regularizer("lora").act_on(Setting(model=None, stage=stage))


def test_lora_moves_as_keras_does(train):
    """One step of gradient descent on A and B is that of a Dense layer with `enable_lora`."""
    from tlkeras.methods.regularize.forward_passes import LoRA

    rng = np.random.default_rng(0)
    x, kernel, a = (rng.normal(size=s).astype("float32") for s in ((5, 4), (4, 3), (4, 2)))
    dense = keras.layers.Dense(3, use_bias=False)
    dense.build((None, 4))
    dense.kernel.assign(kernel)
    dense.enable_lora(2)
    dense.lora_kernel_a.assign(a)
    dense.lora_kernel_b.assign(np.ones((2, 3)))
    ours = LoRA(rank=2)
    ours._start = [keras.Variable(kernel)]
    ours._pairs = [(keras.Variable(a), keras.Variable(np.ones((2, 3), "float32")))]
    np.testing.assert_allclose(x @ ours._sums()[0].numpy(), dense(x).numpy(), rtol=1e-5)


def test_stochastic_norm_uses_moving_statistics_for_some_channels(train):
    from tlkeras.methods.regularize.forward_passes import StochasticNormalization

    bn = keras.layers.BatchNormalization(momentum=0.5)
    x = np.random.default_rng(0).normal(3, 2, size=(32, 40)).astype("float32")
    bn(x)
    layer = StochasticNormalization(bn, 0.5, seed=1)
    layer.clock.step = 3
    before = bn(x, training=False).numpy()
    found = layer(x, training=True).numpy()
    by_batch = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + bn.epsilon)
    from_moving = np.isclose(found, before, atol=1e-4).all(axis=0)
    from_batch = np.isclose(found, by_batch, atol=1e-3).all(axis=0)
    assert np.logical_xor(from_moving, from_batch).all() and 8 < from_moving.sum() < 32
    assert np.abs(bn.moving_mean.numpy()).max() > 1  # and they move


def test_stochastic_norm_trains_and_leaves_a_plain_model(train):
    start, end, trainer = train({"name": "stochastic_norm"}, "stochastic", bn="train")
    assert max(moved(start, end).values()) > 0
    kinds = {type(layer).__name__ for layer in trainer.model.to_functional().layers}
    assert "StochasticNormalization" not in kinds
    with pytest.raises(UserError, match="bn='train'"):
        train({"name": "stochastic_norm"}, "frozen", bn="frozen")


@pytest.fixture
def source_run(tmp_path, pictures):
    """Returns a function that trains a run whose classes are moved by one number, and its directory."""
    return lambda turned=0: _source_run(tmp_path / f"source_{turned}", pictures["train"], turned)


def _source_run(path, rows, turned):
    x, y = rows[0], (rows[1] + turned) % 3
    config = ExperimentConfig(
        data=DataConfig(source="npz:memory", image_size=8, batch_size=16),
        model=ModelConfig(backbone="small_cnn", weights=None, backbone_options={"filters": [4, 6]}),
        stages=[StageConfig(name="all", train="all", bn="train", epochs=30, optimizer=SGD)],
    )
    run_experiment(config, path, {"train": (x, y), "val": (x, y), "test": (x, y)})
    return path


@pytest.mark.parametrize(
    ("teacher", "student", "temperature"),
    [
        ([[-1.0, -8, -2]], [[-4.0, -1, -9]], 1.0),
        ([[-1.0, -8, -2]], [[-4.0, -1, -9]], 3.0),
        ([[1.0, 2, 3]], [[2.0, 3, 4]], 3.0),  # the same softmax
        ([[0.0, 60, 0]], [[60.0, 0, 0]], 1.0),  # surely wrong
    ],
)
def test_distillation_is_a_divergence_of_softmaxes(teacher, student, temperature):
    distillation = make_regularizer("distillation", options={"temperature": temperature})
    distillation._model = lambda x, training: keras.ops.convert_to_tensor(teacher)
    logits = tf.Variable(student)
    with tf.GradientTape() as tape:
        loss = distillation.loss(None, Pair(logits, None))
    p, q = (_softmax(np.array(x) / temperature) for x in (teacher, student))
    assert float(loss) == pytest.approx(temperature**2 * np.sum(p * np.log(p / q)), rel=1e-5, abs=1e-6)
    # Hinton et al. 2015, equation 2: T (q - p), after the factor T^2
    np.testing.assert_allclose(tape.gradient(loss, logits), temperature * (q - p), atol=1e-5)


@pytest.mark.parametrize("temperature", [0, -1.0, "warm"])
def test_distillation_refuses_a_temperature_that_is_none(temperature):
    with pytest.raises(UserError, match=r"above 0. Received: options.temperature="):
        make_regularizer("distillation", options={"temperature": temperature})


def test_distillation_follows_the_teacher(train, source_run, pictures):
    x = pictures["train"][0].astype("float32")
    turned = source_run(1)
    teacher = keras.models.load_model(turned / "best.keras", compile=False).predict(x, verbose=0)
    apart = []
    for weight in (0, 1.0):
        regularizer = {"name": "distillation", "weight": weight, "options": {"teacher": str(turned)}}
        _, _, trainer = train(regularizer, f"w{weight}", bn="train", epochs=12)
        logits = trainer.model.to_functional().predict(x, verbose=0)
        apart.append(np.abs(_softmax(logits) - _softmax(teacher)).mean())
    assert apart[1] < 0.85 * apart[0]


def test_co_tuning_learns_which_source_classes_a_label_means(train, source_run, tmp_path, pictures):
    regularizer = {"name": "co_tuning", "weight": 1.0}
    _, _, trainer = train(regularizer, "co", weights=str(source_run()), bn="train")
    arrays, _ = trainer.states.checkpoints(1).load()
    (relation,) = (array for name, array in arrays.items() if name.endswith("relation"))
    np.testing.assert_allclose(relation.sum(axis=1), 1, rtol=1e-5)
    assert (relation.argmax(axis=1) == np.arange(3)).all()  # the classes are the source's own
    assert not any("source" in v.path for v in trainer.model.to_functional().variables)


def _softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_a_regularised_stage_goes_on_where_it_was_killed(train, tmp_path, pictures, monkeypatch):
    regularizer = {"name": "lora", "options": {"rank": 2}}
    _, whole, _ = train(regularizer, "whole", epochs=4)
    saves = []
    save = Checkpoint.save

    def killed(self, finished=False):
        save(self, finished)
        saves.append(self)
        if len(saves) == 5:  # two epochs and the end of the head's stage, and two of this
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        train(regularizer, "halves", epochs=4)
    monkeypatch.setattr(Checkpoint, "save", save)
    _, resumed, trainer = train(regularizer, "halves", epochs=4)
    events = [e["event"] for e in trainer.run_dir.ledger.records() if e["stage"] == "tune"]
    assert events == ["started", "resumed", "completed"]
    for path in whole:
        np.testing.assert_array_equal(whole[path], resumed[path], err_msg=path)


@pytest.mark.parametrize("stage", [{"train": "head"}])
def test_nothing_to_hold_back_is_refused(train, stage):
    with pytest.raises(UserError, match="train blocks"):
        train({"name": "l2_sp"}, "refused", **stage)


@pytest.mark.parametrize(
    ("regularizer", "message"),
    [
        ({"name": "l2sp"}, "Did you mean 'l2_sp'"),
        ({"name": "bss", "options": {"q": 1}}, "bss refuses its options"),
        ({"name": "mixout", "weight": 1.0}, "below 1"),
        ({"name": "l2_sp", "options": {"head": -1}}, "options.head must be a number of at least 0"),
        ({"name": "l2_sp", "options": {"head": 0.1}}, "not random: set model.head.name=class_names.*linear"),
        ({"name": "patch_dropout", "weight": 1}, "part below 1"),
        ({"name": "patch_dropout"}, "needs a vision transformer .*small_cnn"),
        ({"name": "distillation"}, "options.teacher"),
        ({"name": "co_tuning"}, "no source head"),
    ],
)
def test_mistakes_are_refused_before_the_workdir_is_touched(train, tmp_path, regularizer, message):
    with pytest.raises(UserError, match=message):
        train(regularizer, "refused")
    assert not (tmp_path / "refused").exists()
