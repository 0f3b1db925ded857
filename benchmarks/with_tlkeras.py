"""Does the same work as `plain_keras.py` with tlkeras. Prints one line of JSON."""

import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
started = time.time()

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402, F401
from measuring import peak_memory_mb  # noqa: E402


def main(options: dict) -> None:
    """Trains as `options` say."""
    imported = time.time()
    from tlkeras.config import (
        AugmentConfig,
        CacheConfig,
        DataConfig,
        ExperimentConfig,
        HeadConfig,
        ModelConfig,
        StageConfig,
    )
    from tlkeras.prepare import prepare
    from tlkeras.run_dir import RunDir
    from tlkeras.settled_config import checked
    from tlkeras.training.callbacks import StepCounter
    from tlkeras.training.trainer import Trainer

    head = HeadConfig(name="mlp", units=options["head"]) if options["head"] else HeadConfig()
    config = ExperimentConfig(
        data=DataConfig(
            source=f"folder:{options['folder']}", image_size=options["size"], batch_size=32,
            val_fraction=0, test_fraction=0, memory_mb=options.get("pixels_mb", 2048),
        ),
        model=ModelConfig(backbone=options["backbone"], weights=options["weights"], head=head),
        stages=[
            StageConfig(
                name="stage", train=options["train"], epochs=options["epochs"],
                augment=AugmentConfig(flip="horizontal" if options["flip"] else "none"),
            )
        ],
        cache=CacheConfig(**options["cache"]),
    )  # fmt: skip
    first = []
    end_of_batch = StepCounter.on_train_batch_end

    def note(self, batch, logs=None):
        first.append(time.time()) if not first else None
        end_of_batch(self, batch, logs)

    StepCounter.on_train_batch_end = note
    config = checked(config)
    parts = prepare(config)
    run_dir = RunDir(options["workdir"])
    run_dir.start(config.model_dump(mode="json"), fresh=True)
    cpu = time.process_time()
    Trainer(parts, run_dir).train()
    cpu = time.process_time() - cpu
    end = run_dir.ledger.last(event="completed")
    kernel = keras.ops.convert_to_numpy(parts.model.head.trainable_variables[0])
    print(
        json.dumps(
            {
                "seconds": end["extraction_seconds"] + end["training_seconds"],
                "cpu": cpu,
                "extraction": end["extraction_seconds"],
                "training": end["training_seconds"],
                "start": first[0] - imported,
                "import": imported - started,
                "memory_mb": peak_memory_mb(),
                "kernel_norm": float((kernel**2).sum() ** 0.5),
            }
        )
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
