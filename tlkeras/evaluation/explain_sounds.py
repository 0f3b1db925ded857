"""Explanations of predictions for sounds: which times and frequencies matter."""

import keras
import numpy as np

from tlkeras.data.shown_sounds import COLUMNS, heights
from tlkeras.evaluation.explain import cam_layer, grad_cam


def times_and_frequencies(
    model: keras.Model, x: np.ndarray, targets: np.ndarray | None, backbone: str
) -> tuple[np.ndarray | None, str]:
    """Explains predictions by Grad-CAM on the map of a layer, over the spectrograms of a report.

    Args:
        model: Model from samples to logits, with one of the front ends of tlkeras.
        x: Samples float32 `(n, samples)`.
        targets: Class numbers `(n,)`, or None for the predicted classes.
        backbone: Registered name of the backbone. Its row names the layer.

    Returns:
        Maps float32 in 0..1 for the pictures of `tlkeras.data.shown_sounds.spectrograms`, and the name of
        the method. The maps are None if the model has no front end.
    """
    names = {layer.name for layer in model.layers}
    if "front_end_mel" not in names:
        return None, ""
    bands = model.get_layer("front_end_mel").get_weights()[0]  # (frequencies, bands)
    layer, count = cam_layer(model, backbone), bands.shape[1]
    if "front_end_turn" in names:  # a picture with the highest band on top
        maps = grad_cam(model, x, targets, layer, (count, COLUMNS))
    else:
        maps = grad_cam(model, x, targets, layer, (COLUMNS, count)).swapaxes(1, 2)
    frequencies = np.linspace(0, 1, len(bands))
    nearest = np.abs(frequencies[bands.argmax(axis=0)] - heights()[:, None]).argmin(axis=1)
    heard = frequencies[bands.any(axis=1)]
    inside = (heights() >= heard.min()) & (heights() <= heard.max())
    return (maps[:, nearest] * inside[:, None]).astype(np.float32), "Grad-CAM"
