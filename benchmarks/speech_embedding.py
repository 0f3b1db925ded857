"""Does `speech_embedding` give the embeddings of the original? Prints one line of JSON.

    python benchmarks/speech_embedding.py --models=FOLDER --sounds=FILE.npz

The folder holds `melspectrogram.tflite` and `embedding_model.tflite` of the package pyopen-wakeword 1.1.0,
and the file `x` (n, samples), int16 at 16 kHz. It needs ai-edge-litert (the extra `export`).
"""

import argparse
import json
import time

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from tlkeras.config import ModelConfig
from tlkeras.data.sound_files import as_floats
from tlkeras.models import build_model
from tlkeras.models.cuts.graph import replay


def original(models: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns frames `(n, frames, 32)` and embeddings `(n, places, 96)` of int16 sounds."""
    mel, embed = (Interpreter(f"{models}/{name}.tflite") for name in ("melspectrogram", "embedding_model"))
    mel.resize_tensor_input(0, [1, x.shape[1]])
    frames = np.stack([_run(mel, row[None].astype(np.float32))[0, 0] for row in x]) / 10 + 2
    starts = range(0, frames.shape[1] - 75, 8)
    embed.allocate_tensors()
    places = [[_run(embed, clip[None, s : s + 76, :, None])[0, 0, 0] for s in starts] for clip in frames]
    return frames, np.array(places)


def _run(interpreter, x):
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def main() -> None:
    """Compares frames and embeddings."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", required=True)
    parser.add_argument("--sounds", required=True)
    parser.add_argument("--rows", type=int, default=50)
    options = parser.parse_args()
    x = np.load(options.sounds)["x"]
    x = x[:: len(x) // options.rows]
    config = ModelConfig(backbone="speech_embedding", weights=f"{options.models}/embedding_model.tflite")
    model = build_model(config, input_shape=x.shape[1:], num_outputs=2)
    inputs = keras.Input(x.shape[1:])
    ours = keras.Model(
        inputs, [replay(model.preprocess, inputs), replay(model.backbone, replay(model.preprocess, inputs))]
    )
    floats = as_floats(x)
    ours.predict(floats[:32], verbose=0)
    begin = time.perf_counter()
    frames, embeddings = ours.predict(floats, verbose=0)
    seconds = time.perf_counter() - begin
    their_frames, theirs = original(options.models, x)
    places = theirs.shape[1]
    difference = np.abs(embeddings[:, :places, 0] - theirs)
    print(
        json.dumps(
            {
                "clips": len(x),
                "parameters": model.backbone.count_params(),
                "frames": list(frames.shape[1:3]),
                "frames_differ_by": float(np.abs(frames[..., 0] - their_frames).max()),
                "embeddings": list(embeddings.shape[1:]),
                "embeddings_differ_by": float(difference.max()),
                "deviation_of_embeddings": float(theirs.std()),
                "clips_per_second": round(len(x) / seconds, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
