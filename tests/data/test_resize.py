import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tlkeras.data import preprocess
from tlkeras.data.reading import PixelSpec
from tlkeras.data.resize import resize


def test_same_size_is_untouched(picture):
    image = picture()
    for how in ("bilinear", "bicubic", "area", "nearest", "lanczos3"):
        np.testing.assert_array_equal(resize(image, (24, 32), interpolation=how), image)


@pytest.mark.parametrize("how", ["bilinear", "bicubic", "area", "lanczos3"])
def test_shrinking_is_antialiased(how):
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    shrunk = resize(stripes, (9, 9), interpolation=how).numpy()
    assert shrunk.dtype == np.uint8
    assert np.abs(shrunk[1:-1, 1:-1].astype(int) - 127.5).max() < 20


@pytest.mark.parametrize("how", ["bilinear", "bicubic"])
def test_shrinking_agrees_with_pillow(picture, how):
    image = picture(3, 120, 90)
    filters = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}
    expected = np.asarray(Image.fromarray(image).resize((30, 40), filters[how]))
    assert np.abs(resize(image, (40, 30), interpolation=how).numpy() - expected.astype(int)).mean() < 2


def test_growing_agrees_with_pillow(picture):
    image = picture(3)
    expected = np.asarray(Image.fromarray(image).resize((64, 48), Image.BILINEAR))
    assert np.abs(resize(image, (48, 64)).numpy() - expected.astype(int)).max() <= 1


def test_crop_takes_the_centre():
    image = np.zeros((10, 20, 3), np.uint8)
    image[:, 5:15] = 200
    assert (resize(image, (10, 10), mode="crop").numpy() == 200).all()
    image = np.zeros((20, 20, 3), np.uint8)
    image[5:15, 5:15] = 200
    assert (resize(image, (10, 10), mode="crop", crop_fraction=0.5).numpy() == 200).all()


@pytest.mark.parametrize("mode", ["crop", "pad"])
def test_a_graph_takes_the_window_that_eager_execution_takes(picture, mode):
    """A graph multiplies by reciprocals, which put 45.5 rows on the other side of the half."""
    for shape, fraction in (((52, 146), 0.875), ((146, 52), 0.875), ((60, 100), 0.9), ((37, 111), 0.5)):
        spec = PixelSpec((40, 56), mode, "bilinear", fraction)
        image = picture(0, *shape)
        signature = [tf.TensorSpec((None, None, 3), tf.uint8)]
        in_graph = tf.function(spec.resize, input_signature=signature)(image)
        np.testing.assert_array_equal(in_graph, spec.resize(tf.constant(image)))
        np.testing.assert_array_equal(in_graph, preprocess.resized(image, **spec.settings))


def test_pad_keeps_the_shape():
    image = np.full((10, 20, 3), 200, np.uint8)
    padded = resize(image, (20, 20), mode="pad").numpy()
    assert (padded[5:15] == 200).all()
    assert not padded[:5].any()
    assert not padded[15:].any()


def test_batches_and_single_images_agree(picture):
    spec = PixelSpec((10, 12), mode="crop", crop_fraction=0.8)
    images = np.stack([picture(seed) for seed in range(3)])
    together = spec.resize(images).numpy()
    for image, resized in zip(images, together, strict=True):
        np.testing.assert_array_equal(spec.resize(image), resized)


def test_floats_stay_floats(picture):
    assert resize(picture().astype(np.float32), (10, 10)).dtype == "float32"
