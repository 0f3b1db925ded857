import keras
import numpy as np
import pytest

from tlkeras.config import HeadConfig, ModelConfig, NeckConfig
from tlkeras.errors import UserError
from tlkeras.models import HEADS, build_model
from tlkeras.models.heads import build_head
from tlkeras.models.neck import build_neck


def small(head="linear", neck=None, **options):
    config = ModelConfig(
        backbone="small_cnn",
        weights=None,
        head=HeadConfig(name=head, **options),
        neck=neck or NeckConfig(),
    )
    return build_model(config, input_shape=(16, 16, 3), num_outputs=5)


@pytest.mark.parametrize("head", HEADS.names())
def test_every_head_gives_logits(head, pixels):
    logits = np.asarray(small(head)(pixels(3, 16)))
    assert logits.shape == (3, 5)
    assert np.isfinite(logits).all()
    if head != "neighbors":  # which says the same of every row until it has seen some
        assert logits.std() > 1e-4


@pytest.mark.parametrize("head", HEADS.names())
def test_logits_are_float32_under_mixed_precision(head, pixels):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = small(head)
        assert model.backbone.get_layer("conv_1").compute_dtype == "float16"
        assert model(pixels(2, 16)).dtype == "float32"
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("head", ["linear", "mlp", "flatten_dense"])
def test_zero_init_starts_at_zero_logits(head, pixels):
    assert not np.asarray(small(head, zero_init=True)(pixels(2, 16))).any()


def test_cosine_refuses_zero_init():
    with pytest.raises(UserError, match="zero_init"):
        small("cosine", zero_init=True)


def test_cosine_is_the_scaled_cosine():
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    features = keras.Input((3,))
    head = build_head(HeadConfig(name="cosine", scale=2.0), 6, features)
    kernel = head.get_layer("logits").kernel.numpy()
    norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(kernel, axis=0)
    np.testing.assert_allclose(head(x), 2 * x @ kernel / norms, rtol=1e-5)


def test_mlp_has_the_layers_that_were_asked_for():
    model = small("mlp", units=(7, 3), activation="gelu", dropout=0.5, batch_norm=True)
    kinds = [type(layer).__name__ for layer in model.head.layers[1:]]
    assert kinds == ["Dense", "BatchNormalization", "Activation", "Dropout"] * 2 + ["Dense"]
    assert [layer.units for layer in model.head.layers if hasattr(layer, "units")] == [7, 3, 5]


def test_flatten_dense_flattens_whatever_the_neck_says():
    model = small("flatten_dense", units=(1024,))
    assert model.neck.output_shape == (None, 4 * 4 * 128)
    assert model.head.layers[1].units == 1024


def test_an_unknown_activation_is_refused():
    with pytest.raises(UserError, match="'rellu'"):
        small("mlp", activation="rellu")


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("avg", lambda x: x.mean((1, 2))),
        ("max", lambda x: x.max((1, 2))),
        ("both", lambda x: np.concatenate([x.mean((1, 2)), x.max((1, 2))], -1)),
        ("flatten", lambda x: x.reshape(len(x), -1)),
    ],
)
def test_pooling(pooling, expected, pixels):
    x = pixels(2, 4)
    neck = build_neck(NeckConfig(pooling=pooling), keras.Input((4, 4, 3)))
    np.testing.assert_allclose(neck(x), expected(x), rtol=1e-5)


def test_bottleneck_and_dropout():
    model = small(neck=NeckConfig(bottleneck=6, dropout=0.3))
    assert model.neck.output_shape == (None, 6)
    assert model.neck.get_layer("neck_dropout").rate == 0.3
    assert model.to_functional().get_layer("features") is model.neck.get_layer("features")


@pytest.mark.parametrize("part", ["neck", "head"])
def test_statistics_keep_up_with_a_backbone_that_moves(part):
    inputs = keras.Input((8,))
    mlp = HeadConfig(name="mlp", units=(16,), batch_norm=True)
    model = build_head(mlp, 4, inputs) if part == "head" else build_neck(NeckConfig(bottleneck=16), inputs)
    x = np.random.default_rng(0).normal(size=(256, 8)).astype("float32")
    for step in range(
        90
    ):  # as many as three epochs of a thousand pictures; the backbone moves in the first 45
        model(x + 5 * min(step, 45) / 45, training=True)
    as_trained, as_saved = (np.asarray(model(x + 5, training=training)) for training in (True, False))
    np.testing.assert_allclose(as_saved, as_trained, atol=0.1)
