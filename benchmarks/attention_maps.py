"""The pointing game (Zhang et al. 2018) for explanations of a small vision transformer.

In made-up pictures one patch at a random place determines the class: the direction of its stripes. A vision
transformer is trained on 4,000 of them. A map hits if its highest value lies on the patch; the place of the
highest value of a random map lies there in 1 of 16 pictures.

Run:  python benchmarks/attention_maps.py [--seeds=3]    (about 10 min on two cores)
"""

import argparse

import keras
import numpy as np
from keras import ops

from tlkeras.evaluation.attention_maps import attention_relevance, attention_rollout
from tlkeras.evaluation.explain import grad_cam, heat_of, integrated_gradients, occlusion
from tlkeras.models.backbones.transformer import vision_transformer

SIDE, MARK = 32, 8
MAPS = {
    "Grad-CAM": grad_cam,
    "attention rollout": attention_rollout,
    "attention relevance": attention_relevance,
    "integrated gradients": lambda model, x: heat_of(integrated_gradients(model, x, baseline=127.0)),
    "occlusion": lambda model, x: occlusion(model, x, patch=MARK, stride=4),
}


def pictures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns images `(n, 32, 32, 3)` in 0..255, classes `(n,)` and the corners of the patches `(n, 2)`."""
    rng = np.random.default_rng(seed)
    x = rng.normal(127, 40, (count, SIDE, SIDE, 3)).clip(0, 255).astype("float32")
    y, corners = rng.integers(0, 2, count), rng.integers(0, SIDE - MARK + 1, (count, 2))
    stripes = 255.0 * (np.arange(MARK) // 2 % 2)
    for image, kind, (top, left) in zip(x, y, corners, strict=True):
        image[top : top + MARK, left : left + MARK] = stripes[:, None, None] if kind else stripes[:, None]
    return x, y, corners


def trained(reads: str, seed: int) -> keras.Model:
    """Returns a trained classifier that reads the class token or the mean of the patches."""
    keras.utils.set_random_seed(seed)
    backbone = vision_transformer((SIDE, SIDE, 3), width=64, depth=4, heads=4, patch=4)
    inputs = keras.Input((SIDE, SIDE, 3))
    tokens = backbone(keras.layers.Rescaling(1 / 127.5, -1)(inputs))
    read = tokens[:, 0] if reads == "class token" else ops.mean(tokens[:, 1:], axis=1)
    model = keras.Model(inputs, keras.layers.Dense(2)(read))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rate = keras.optimizers.schedules.CosineDecay(0.0, 2000, warmup_target=1e-3, warmup_steps=200)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=0.01), loss)
    x, y, _ = pictures(4000, seed)
    model.fit(x, y, epochs=35, batch_size=64, verbose=0)
    return model


def hits(heat: np.ndarray, corners: np.ndarray) -> float:
    """Returns the share of maps `(n, h, w)` whose highest value lies on the patch."""
    places = np.stack(np.unravel_index(heat.reshape(len(heat), -1).argmax(axis=1), heat.shape[1:]), axis=1)
    return float(((places >= corners) & (places < corners + MARK)).all(axis=1).mean())


def main() -> None:
    """Prints the hits of each explanation, mean and range over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    for reads in ("class token", "mean of patches"):
        found, right = {name: [] for name in MAPS}, []
        for seed in range(seeds):
            model = trained(reads, seed)
            x, y, corners = pictures(256, 100 + seed)
            right.append((model.predict(x, verbose=0).argmax(axis=1) == y).mean())
            for name, explain in MAPS.items():
                found[name].append(hits(explain(model, x), corners))
        print(f"{reads}: accuracy {' '.join(f'{value:.3f}' for value in right)}")
        for name, values in found.items():
            print(f"  {name:22s} {np.mean(values):.2f}  ({min(values):.2f} to {max(values):.2f})", flush=True)


if __name__ == "__main__":
    main()
