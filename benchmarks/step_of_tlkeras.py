"""A forward pass or a training step of tlkeras, for `step_speed.py`, with the words of `step_of_torch.py`.

    python step_of_tlkeras.py '{"network": "vit_small", "what": "step", "batch": 8}'

Further words: `lora` (rank of the updates, 0 for full fine-tuning), `precision`, `size` (side of an image),
`options` of the backbone and `deterministic`.
"""

import json
import os
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from measuring import peak_memory_mb

from tlkeras.backend import import_tensorflow

import_tensorflow()

import numpy as np  # noqa: E402

from tlkeras.backend.tracing import traced  # noqa: E402
from tlkeras.config import (  # noqa: E402
    CacheConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    RegularizerConfig,
    RuntimeConfig,
    StageConfig,
)
from tlkeras.data.combined_batches import repeated  # noqa: E402
from tlkeras.prepare import prepare  # noqa: E402
from tlkeras.run_dir import RunDir  # noqa: E402
from tlkeras.settled_config import checked  # noqa: E402
from tlkeras.training.profile import StepClock  # noqa: E402
from tlkeras.training.trainer import Trainer  # noqa: E402

CLASSES = 10


def config_of(asked: dict) -> ExperimentConfig:
    """Returns a run with one stage that trains all weights, or with LoRA their updates and the head."""
    lora = asked.get("lora", 0)
    stage = StageConfig(
        name="all", train="all", epochs=1, bn="train",
        optimizer=OptimizerConfig(name="adamw", learning_rate=1e-4, weight_decay=0.05),
        regularizer=RegularizerConfig(name="lora", options={"rank": lora}) if lora else None,
    )  # fmt: skip
    return checked(
        ExperimentConfig(
            data=DataConfig(
                source="npz:memory", image_size=asked.get("size", 224), batch_size=asked["batch"]
            ),
            model=ModelConfig(
                backbone=asked["network"], weights=None, backbone_options=asked.get("options", {})
            ),
            stages=[stage],
            cache=CacheConfig(enabled=False),
            runtime=RuntimeConfig(
                threads=asked["threads"],
                precision=asked.get("precision", "float32"),
                deterministic=asked.get("deterministic", True),
            ),
        )
    )


def pass_of(asked: dict, folder: str):
    """Returns a function that runs a number of passes and returns the seconds of one, and its facts."""
    config, side = config_of(asked), asked.get("size", 224)
    rows = asked["batch"]
    x = np.random.default_rng(0).integers(0, 256, (rows, side, side, 3)).astype("uint8")
    part = (x, np.arange(rows) % CLASSES)
    parts = prepare(config, {"train": part, "val": part, "test": part})
    stage = Trainer(parts, RunDir(folder)).fit_stage(0)
    stage.select()
    with parts.runtime.scope():
        trainee = stage.compile()
    facts = {"trained": int(sum(np.prod(v.shape) for v in trainee.trainable_variables))}
    data = stage.training_data(stage.config, stage.steps, 0, trainee)
    batch = next(iter(data))

    def steps(count: int) -> float:
        clock = StepClock()
        endless = parts.runtime.distribute(repeated(batch))
        trainee.fit(endless, steps_per_epoch=count + 1, callbacks=[clock], shuffle=False, verbose=0)
        return (clock.times[-1] - clock.times[0]) / count

    network = traced(lambda x: parts.model(x, training=False))

    def forwards(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            np.asarray(network(batch[0]))
        return (time.perf_counter() - began) / count

    return (steps if asked["what"] == "step" else forwards), facts


def main(asked: dict) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run, facts = pass_of(asked, folder)
        run(3)
        print(json.dumps(facts), flush=True)
        for line in sys.stdin:
            seconds = run(int(line))
            print(json.dumps({"seconds": seconds, "memory_mb": peak_memory_mb()}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
