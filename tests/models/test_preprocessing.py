import importlib

import keras
import numpy as np
import pytest

from tlkeras.models import BACKBONES
from tlkeras.models.backbones.construct import construct
from tlkeras.models.backbones.preprocessing import build_preprocessing

APPLICATIONS = [name for name, row in BACKBONES.items() if row.is_application]


def reference(name):
    function = getattr(keras.applications, BACKBONES.get(name).builder.split(":")[1])
    return importlib.import_module(function.__module__).preprocess_input


@pytest.mark.parametrize("name", APPLICATIONS)
def test_equals_the_preprocess_input_of_the_family(name, pixels):
    x = pixels(2, 8)
    model = build_preprocessing(BACKBONES.get(name).family.preprocessing, (8, 8, 3))
    np.testing.assert_allclose(model(x), reference(name)(x.copy()), atol=1e-4)


def test_efficientnet_lite(pixels):
    x = pixels(2, 8)
    np.testing.assert_allclose(build_preprocessing("lite", (8, 8, 3))(x), (x - 127) / 128, atol=1e-6)


def test_caffe_swaps_the_channels():
    x = np.zeros((1, 2, 2, 3), "float32")
    x[..., 0] = 255.0
    y = np.asarray(build_preprocessing("caffe", (2, 2, 3))(x))
    np.testing.assert_allclose(y[0, 0, 0], [-103.939, -116.779, 255 - 123.68], rtol=1e-6)


@pytest.mark.parametrize("mode", ["tf", "torch", "caffe", "lite", "unit", "identity"])
def test_stays_float32_under_mixed_precision(mode, pixels, half_precision):
    x = pixels(2, 8)
    y = np.asarray(build_preprocessing(mode, (8, 8, 3))(x))
    keras.config.set_dtype_policy("float32")
    assert y.dtype == "float32"
    np.testing.assert_array_equal(y, build_preprocessing(mode, (8, 8, 3))(x))


def test_scaling_inside_a_backbone_stays_float32_under_mixed_precision(pixels, half_precision):
    x = pixels(2, 32)
    backbone = construct(BACKBONES.get("efficientnet_v2_b0"), (32, 32, 3), {})
    scaling = [x for x in backbone.layers if isinstance(x, keras.layers.Rescaling)]
    assert scaling and backbone.get_layer("stem_conv").compute_dtype == "bfloat16"
    y = np.asarray(scaling[0](x))
    assert y.dtype == "float32"
    np.testing.assert_allclose(y, x / 255, atol=1e-6)
