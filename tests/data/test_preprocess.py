import ast
import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlkeras.data import preprocess
from tlkeras.data.image_header import sniff
from tlkeras.data.reading import PixelSpec, read_image

MODES = ("stretch", "crop", "pad")
EXIF_TURNED = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
XMP_TURNED = b'<x tiff:Orientation="6"/>'


def test_it_needs_nothing_but_pillow_and_numpy():
    tree = ast.parse(Path(preprocess.__file__).read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} - sys.stdlib_module_names == {"numpy", "PIL"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["bilinear", "bicubic", "nearest", "area", "lanczos3"])
def test_resizing_is_that_of_training(mode, how):
    rng = np.random.default_rng(0)
    shapes = [(24, 24), (48, 96), (7, 90), (91, 13), (9, 11), (1, 40), (150, 77), (72, 36)]
    for number, shape in enumerate(shapes):
        image = rng.integers(0, 256, (*shape, 3), np.uint8)  # noise, so that nothing is averaged away
        spec = PixelSpec(((24, 24), (17, 40))[number % 2], mode, how, (1.0, 0.8)[number // 2 % 2])
        expected = np.asarray(spec.resize(image)).astype(int)
        gap = np.abs(preprocess.resized(image, **spec.settings) - expected)
        # TensorFlow rounds its sums in float32: a value that lies between two numbers may fall either way
        assert gap.max() <= (0 if how in ("bilinear", "nearest") else 1)
        assert (gap > 0).mean() < 2e-3


def encoded(image, kind="JPEG", **how):
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + jpeg[2:]


def with_chunk(png: bytes, name: bytes, body: bytes, *, last: bool = False) -> bytes:
    chunk = struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    place = len(png) - 12 if last else 33
    return png[:place] + chunk + png[place:]


@pytest.mark.parametrize("mode", MODES)
def test_pictures_are_read_as_training_does(mode, picture):
    noise = np.random.default_rng(0).integers(0, 128, (130, 250, 3), np.uint8)  # which shrinking averages
    image = Image.fromarray(picture(1, 130, 250) // 2 + noise)
    png, jpeg = encoded(image, "PNG"), encoded(image, quality=90)
    exif = Image.Exif()
    exif[0x0112] = 5
    contents = [
        png,
        jpeg,  # decoded at a fraction of its size
        encoded(image, quality=90, subsampling=0, progressive=True),
        encoded(image, "MPO", save_all=True, append_images=[image.convert("L")]),
        encoded(image.convert("L"), quality=90),
        encoded(image, quality=90, exif=exif),
        encoded(image.convert("CMYK"), quality=90),
        encoded(image.convert("LA"), "PNG"),
        encoded(image.quantize(32), "PNG", transparency=3),
        encoded(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 250), "PNG"),
        encoded(image, "BMP"),
        encoded(image.convert("CMYK"), "TIFF", exif=exif),
        encoded(image, "WEBP"),
        encoded(image.quantize(32), "GIF"),
        with_segment(jpeg, 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP_TURNED),
        with_chunk(png, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP_TURNED),
        with_chunk(png, b"eXIf", EXIF_TURNED, last=True),
    ]
    spec = PixelSpec((40, 56), mode)
    for content in contents:
        pixels = preprocess.read_picture(content, spec.settings)
        assert (pixels.dtype, pixels.shape) == (np.float32, (40, 56, 3))
        # two builds of libjpeg may round a chroma sample differently
        assert np.abs(pixels - read_image(content, spec)).max() <= (3 if content[:2] == b"\xff\xd8" else 0)
    assert sniff(png).plain
    assert not any(sniff(content).plain for content in contents[-3:])


def test_a_file_is_read_as_its_bytes_are(tmp_path, picture):
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(picture()), "PNG"))
    expected = preprocess.read_picture((tmp_path / "a.png").read_bytes())
    np.testing.assert_array_equal(preprocess.read_picture(str(tmp_path / "a.png")), expected)
    assert expected.shape == (224, 224, 3)
