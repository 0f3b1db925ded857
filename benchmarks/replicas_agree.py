"""Compares the weights of two replicas with those of one device, for every method and regularizer.

Command:  python benchmarks/replicas_agree.py [--only dann bss ...] [--topologies mirrored workers]
          [--some dann ...] (of the cases, those that `copied` and `workers` train)
Time:     two minutes of computing, or more on busy cores. docs/scaling.md shows the table.
Compare:  one device, on the same global batches, with the same initial weights.

`mirrored` is `MirroredStrategy(["CPU:0", "CPU:1"])` with TensorFlow's default collectives, as with several
GPUs. `workers` are two processes of `MultiWorkerMirroredStrategy` on 127.0.0.1. `copied` is what
`strategy=mirrored` uses on CPUs; it copies to one device. Each is a process of its own (two for `workers`),
with TF_ENABLE_ONEDNN_OPTS=0, and is forked from one process that has imported TensorFlow. The number is the
largest difference of any weight or logged loss after ten steps.
"""

import argparse
import dataclasses
import json
import multiprocessing
import os
import socket
import tempfile
from pathlib import Path

import numpy as np

TOPOLOGIES = ("mirrored", "copied", "workers")
STEPS, ROWS, CLASSES, BAR = 10, 16, 3, 1e-5
LOGS = ("loss", "class_loss", "alignment", "strength", "reversal_gradient_norm")
UNITS = {"units": [8]}
METHODS = {
    "dann": UNITS, "cdan": UNITS, "cdan_e": UNITS, "pada": UNITS, "adda": UNITS,
    "mcc": {}, "bnm": {}, "mcd": {}, "mdd": UNITS, "adamatch": {}, "dan": {}, "jan": {}, "deep_coral": {},
    "mean_distance": {}, "afn": {}, "none": {},
    "wasserstein": {"units": [8]}, "wasserstein, penalty=0": {"units": [8], "penalty": 0.0},
}  # fmt: skip
REGULARIZERS = {
    "l2_sp": 1.0, "delta": 1.0, "bss": 0.1, "co_tuning": 1.0, "distillation": 1.0, "mixout": 0.5, "lora": 1.0,
    "patch_dropout": 0.5, "stochastic_norm": 0.5, "stochastic_norm, statistics of each replica": 0.5,
}  # fmt: skip
CASES = (*METHODS, *REGULARIZERS)
PROCESSES = multiprocessing.get_context("forkserver")


def main() -> None:
    """Prints the table and, as the last line, the same as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=CASES, metavar="CASE")
    parser.add_argument("--topologies", nargs="+", default=["mirrored", "workers"], choices=TOPOLOGIES)
    parser.add_argument("--some", nargs="+", choices=CASES, metavar="CASE")
    flags = parser.parse_args()
    some = flags.some or flags.only
    cases = {topology: flags.only if topology == "mirrored" else some for topology in flags.topologies}
    os.environ |= {"TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    PROCESSES.set_forkserver_preload(["tlkeras.run", "tlkeras.methods.adapt.configured"])
    with tempfile.TemporaryDirectory() as folder:
        results = train_everywhere({"one": list(dict.fromkeys(flags.only + some)), **cases}, Path(folder))
    found = {
        name: compared(results, name, [topology for topology in cases if name in cases[topology]])
        for name in dict.fromkeys(flags.only + some)
    }
    print("| | " + " | ".join(flags.topologies) + " |\n|---" + "|---" * len(flags.topologies) + "|")
    for name, apart in found.items():
        cells = [f"{v:.1e}" if isinstance(v, float) else v for v in (apart.get(t, "") for t in cases)]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(json.dumps(found))


def compared(results: dict, name: str, topologies: list[str]) -> dict:
    """Returns the largest difference from one device for each topology, or the error. `moved` is the change
    that training made.
    """
    one = results["one"]
    if error := one.get(f"{name}/error"):
        raise SystemExit(f"{name} fails on one device: {error}")
    apart = {"moved": float(np.abs(one[f"{name}/weights"] - one[f"{name}/start"]).max())}
    for topology in topologies:
        there = [r for k, r in results.items() if k.startswith(topology)]
        errors = [str(r[f"{name}/error"]) for r in there if f"{name}/error" in r]
        far = (np.abs(r[f"{name}/{k}"] - one[f"{name}/{k}"]).max() for r in there for k in ("weights", "logs")
               if not errors)  # fmt: skip
        apart[topology] = errors[0] if errors else float(max(far))
    return apart


def train_everywhere(cases: dict[str, list[str]], folder: Path) -> dict[str, dict]:
    """Trains the cases of each topology, one topology after the other, with the workers at the same time.

    Returns:
        What each process wrote, by its name.
    """
    run_together([(write_teacher, (folder,), folder / "teacher.log")])
    for topology in cases:
        run_together(
            [
                (train_here, (topology, folder, name, cases[topology], cluster), folder / f"{name}.log")
                for name, cluster in processes_of(topology)
            ]
        )
    return {path.stem: dict(np.load(path)) for path in folder.glob("*.npz")}


def processes_of(topology: str) -> list[tuple[str, str | None]]:
    """Returns the name of each process and its TF_CONFIG. The ports of workers are free at this moment."""
    if topology != "workers":
        return [(topology, None)]
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    named = [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}} for i in (0, 1)]
    return [(f"workers_{i}", json.dumps(one)) for i, one in enumerate(named)]


def run_together(tasks: list[tuple]) -> None:
    """Runs each `(function, arguments, log)` in a process. All run at the same time and must succeed."""
    running = {log: PROCESSES.Process(target=logged, args=(log, f, *words)) for f, words, log in tasks}
    for process in running.values():
        process.start()
    for process in running.values():
        process.join(900)
    codes = {log: process.exitcode for log, process in running.items()}
    for process in running.values():
        process.kill()
    for log, code in codes.items():
        if code != 0:
            raise SystemExit(f"{log.stem} failed:\n{log.read_text()[-4000:]}")


def logged(log: Path, function, *arguments) -> None:
    """Calls a function whose output goes to a file."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT, 0o644)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    function(*arguments)


def free_ports(count: int) -> list[int]:
    """Returns ports on 127.0.0.1 that are free at this moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start(topology: str):
    """Returns the runtime of this process. TensorFlow must not have set up its devices before."""
    from tlkeras import backend
    from tlkeras.config import RuntimeConfig

    strategy, devices = {"one": ("none", None), "workers": ("multi_worker", None)}.get(
        topology, ("mirrored", 2)
    )
    started = backend.start(RuntimeConfig(strategy=strategy, devices=devices), 0)
    if topology == "mirrored":  # in a process, collectives on CPUs work only for the first strategy
        import tensorflow as tf

        mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        started = dataclasses.replace(started, strategy=mirrored)
    return started


def train_here(topology: str, folder: Path, name: str, cases: list[str], cluster: str | None) -> None:
    """Trains the cases here. Writes the initial weights, the weights and the logs of each, or its error."""
    os.environ.pop("TF_CONFIG", None)
    if cluster:
        os.environ["TF_CONFIG"] = cluster
    runtime, results = start(topology), {}
    for case in cases:
        fitted = adapted if case in METHODS else regularized
        try:
            found = fitted(runtime, case, folder)
        except Exception as error:  # the table shows the failed cases, and the others continue
            lines = str(error).strip().splitlines() or [""]
            found = {"error": np.array(f"{type(error).__name__}: {lines[-1][:200]}")}
        results |= {f"{case}/{key}": value for key, value in found.items()}
    np.savez(folder / f"{name}.npz", **results)


def made_up(inputs: int, shift: float = 0.0):
    """Returns `(x, labels)` of ten batches: float32 rows that depend on the class."""
    rng = np.random.default_rng(int(10 * shift))
    labels = rng.integers(0, CLASSES, ROWS * STEPS).astype("int32")
    x = rng.normal(shift, size=(len(labels), inputs)) + np.eye(CLASSES, inputs)[labels]
    return x.astype("float32"), labels


def flat(variables) -> np.ndarray:
    """Returns all weights in one vector, without the states of random generators."""
    weights = [v.numpy().ravel() for v in variables if "seed_generator" not in v.path]
    return np.concatenate(weights)


def adapted(runtime, case: str, folder: Path) -> dict:
    """Trains a method on a small network with made-up rows."""
    import tensorflow as tf

    from tlkeras.config import StrengthConfig
    from tlkeras.methods.adapt import make_method
    from tlkeras.methods.adapt.configured import adaptation_model

    (source, labels), (target, _) = made_up(6), made_up(6, 0.5)
    with runtime.scope():
        method = make_method(case.split(",")[0], METHODS[case])
        views = (target, target * 1.1) if method.target_views == 2 else target
        data = tf.data.Dataset.from_tensor_slices(((source, labels), views)).batch(ROWS, True).repeat()
        model = network((6,))
        model.select("all", "train")
        strength = StrengthConfig(schedule="warm_start", start=0.3) if case == "adda" else (
            StrengthConfig(schedule="linear"))  # fmt: skip
        trainee = adaptation_model(model, method, steps=STEPS, strength=strength)
        learned = [*model.variables, *method.own.trainable_variables]
        start = flat(learned)
        history = fit(trainee, runtime.distribute(data))
    logs = [history[name][0] for name in LOGS if name in history]
    return {"start": start, "weights": flat(learned), "logs": np.array(logs)}


def regularized(runtime, case: str, folder: Path) -> dict:
    """Trains a regularizer on a small network with made-up rows, or with pictures if it needs
    BatchNormalization or patches.
    """
    import tensorflow as tf

    from tlkeras.backend.distributed_fit import synchronize_batch_norm
    from tlkeras.config import DataConfig, ModelConfig, StageConfig
    from tlkeras.data import load_domain
    from tlkeras.methods.regularize import make_regularizer
    from tlkeras.methods.training_model import TrainingModel

    name = case.split(",")[0]
    shape = {"patch_dropout": (16, 16, 3), "stochastic_norm": (8, 8, 3)}.get(name, (6,))
    x, labels = made_up(int(np.prod(shape)))
    x = x.reshape(-1, *shape)
    if len(shape) == 3:
        x = np.clip(128 + 40 * x, 0, 255).astype("uint8")
    options = {"teacher": str(folder)} if name == "distillation" else {}
    config = DataConfig(source="npz:memory", image_size=shape[0])
    domain = load_domain(config, seed=0, arrays=dict.fromkeys(("train", "val", "test"), (x, labels)))
    stage = StageConfig(name="tune", train="all", regularizer={"name": name}, bn="train")
    origin = ModelConfig(backbone="mlp", weights=str(folder))
    with runtime.scope():
        model = network(shape, backbone="vit_tiny" if name == "patch_dropout" else "small_cnn")
        model.select("all", "train")
        if "each replica" not in case:
            synchronize_batch_norm(model)
        regularizer = make_regularizer(name, REGULARIZERS[case], options)
        trainee = TrainingModel(model, (regularizer,), stage=stage, model_config=origin, domain=domain)
        data = tf.data.Dataset.from_tensor_slices((x, labels)).batch(ROWS, True).repeat()
        learned = trainee.variables
        start = flat(learned)
        history = fit(trainee, runtime.distribute(data))
    return {"start": start, "weights": flat(learned), "logs": np.array(history["loss"])}


def network(shape: tuple, seed: int = 0, backbone: str = "small_cnn"):
    """Returns the same small transfer model in every process; `backbone` is that of pictures."""
    from tlkeras.config import ModelConfig
    from tlkeras.models import build_model

    options = (
        {"width": 8, "depth": 1, "heads": 2, "patch": 8} if backbone == "vit_tiny" else {"filters": [4, 6]}
    )
    if len(shape) == 1:
        backbone, options = "mlp", {"units": [8, 5]}
    config = ModelConfig(backbone=backbone, weights=None, backbone_options=options)
    return build_model(config, input_shape=shape, num_outputs=CLASSES, seed=seed)


def write_teacher(folder: Path) -> None:
    """Writes `best.keras`: a teacher on the same rows and, for co_tuning, a source on the same features."""
    network((6,), seed=1).to_functional().save(folder / "best.keras")


def fit(trainee, data) -> dict:
    """Trains ten steps, five in each call, and returns the history."""
    import keras

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trainee.compile(keras.optimizers.SGD(0.1), loss, steps_per_execution=5)
    return trainee.fit(data, steps_per_epoch=STEPS, epochs=1, verbose=0, shuffle=False).history


if __name__ == "__main__":
    main()
