"""The private parts of Keras and TensorFlow that tlkeras touches are there, and do what it takes them for."""

import collections

import keras
import numpy as np
import pytest
import tensorflow as tf

from tlkeras.backend import compat
from tlkeras.backend.distributed_fit import DistributedFit
from tlkeras.backend.stage_optimizer import stage_optimizer_class
from tlkeras.backend.start import Runtime
from tlkeras.config import RuntimeConfig


@pytest.fixture
def model():
    inner = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, name="inner"), keras.layers.Dropout(0.5)]
    )
    x = keras.Input((4,))
    return keras.Model(x, keras.layers.Dense(2, name="last")(inner(x)))


def test_layers_of_layers(model):
    names = {layer.name for layer in compat.flat_layers(model)}
    assert {"inner", "last"} <= names
    dropout = next(x for x in compat.flat_layers(model) if isinstance(x, keras.layers.Dropout))
    assert [type(g) for g in compat.seed_generators(dropout)] == [keras.random.SeedGenerator]
    last = model.get_layer("last")
    holder = keras.layers.Layer()
    holder.seen = keras.metrics.Mean()
    assert compat.metrics_of(holder) == [holder.seen]
    before = compat.kernel_of(last)
    last.enable_lora(1)
    assert compat.kernel_of(last) is before and last.kernel is not before


def test_the_graph(model):
    assert compat.is_graph(model) and not compat.is_graph(keras.layers.Dense(1))
    assert compat.graph_nodes(model)[-1].operation.name == "last"
    assert compat.is_graph(compat.functional_inside(model.layers[1]))
    assert compat.producer_of(model.outputs[0]).name == "last"


def test_names_are_numbered_from_what_is_put_in():
    before = compat.name_counters(collections.defaultdict(int))
    assert keras.layers.Dense(1).name == "dense" and keras.layers.Dense(1).name == "dense_1"
    compat.restore_name_counters(before)
    assert compat.name_counters() is before


def test_optimizers(model):
    optimizer = stage_optimizer_class(keras.optimizers.SGD)(0.1, use_ema=True, clipnorm=1.0, weight_decay=0.1)
    model.compile(optimizer, "mse")
    model.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0)
    pairs = compat.moving_averages(optimizer)
    assert [v.path for v, _ in pairs] == [v.path for v in model.trainable_variables]
    assert int(compat.update_count(optimizer).numpy()) == 1
    assert optimizer.index_of(model.trainable_variables[1]) == 1
    kernel, bias = model.get_layer("last").trainable_variables
    assert optimizer.decays(kernel) and not optimizer.decays(bias)
    accumulating = stage_optimizer_class(keras.optimizers.SGD)(0.1, gradient_accumulation_steps=2)
    accumulating.build(model.trainable_variables)
    assert accumulating.accumulator_of(kernel).shape == kernel.shape


def test_tensorflow():
    variable = tf.Variable(2.0)
    function = tf.function(lambda x: x * variable).get_concrete_function(tf.TensorSpec((), tf.float32))
    folded = compat.with_folded_variables(function)
    assert not folded.variables and float(folded(tf.constant(3.0))[0]) == 6
    assert compat.determinism_is_on() in (True, False)
    assert compat.updates_without_merging() in (True, False)
    weight = keras.Variable(1.0)
    compat.merged(
        lambda strategy, value: compat.assign_in_replicas(strategy, weight, value), tf.constant(5.0)
    )
    assert float(weight) == 5


PRIVATE = (
    "keras.src", "tensorflow.python", "__internal__", "._flatten_layers", "._keras_history",
    "._nodes_by_depth", "._loss_tracker", "._trainable_variables",
    "_num_workers", "tensorflow.core",
)  # fmt: skip


class Fitted(DistributedFit):
    """One layer."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def call(self, x):
        return self.dense(x)


@pytest.mark.parametrize("per_call", [1, 3])
def test_the_trainer(per_call):
    """An epoch of five steps, three to a call, has five: Keras' own groups would make six of them."""
    model = Fitted()
    model.compile("sgd", "mse", steps_per_execution=per_call)
    data = tf.data.Dataset.from_tensors((tf.ones((4, 2)), tf.ones((4, 1)))).repeat()
    data = data.apply(tf.data.experimental.assert_cardinality(100))
    model.fit(data, steps_per_epoch=5, epochs=2, verbose=0, shuffle=False)
    assert int(model.optimizer.iterations) == 10
    assert model.loss_tracker in model.own_metrics() and not model.was_made_under_a_strategy


def test_optuna_and_memory_maps(tmp_path):
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study()
    trial = study.ask()
    assert compat.optuna_trial_number(study.get_trials()[0]) == compat.optuna_trial_number(trial)
    mapped = np.memmap(tmp_path / "x", np.uint8, "w+", shape=(8,))
    assert len(compat.memory_map_of(mapped)) == 8


def test_no_other_file_touches_private_parts():
    from pathlib import Path

    for path in (Path(__file__).parents[2] / "tlkeras").rglob("*.py"):
        text = path.read_text("utf-8")
        for private in PRIVATE:
            assert path.name == "compat.py" or private not in text, f"{path.name}: {private}"


def test_no_iterator_of_a_distributed_dataset_has_an_autotuner(monkeypatch):
    """Their deletion would wait for it; those that bring rows to devices take no options of the dataset."""
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    dataset = Runtime("one", strategy, RuntimeConfig(), 0).distribute(tf.data.Dataset.range(4).batch(2))
    enabled, begin = [], tf.data.Dataset.__iter__

    def begun(dataset):
        enabled.append(dataset.options().autotune.enabled)
        return begin(dataset)

    monkeypatch.setattr(tf.data.Dataset, "__iter__", begun)
    batches = strategy.experimental_distribute_dataset(dataset)
    assert [x.numpy().tolist() for x in batches] == [[0, 1], [2, 3]]
    assert enabled and set(enabled) == {False}
