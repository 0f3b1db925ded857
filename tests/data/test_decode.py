import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from tlkeras.data.decode import UnreadableImage, decode
from tlkeras.data.reading import PixelSpec, read_image
from tlkeras.data.scan import scan, sniff
from tlkeras.errors import UserError


def encoded(image, **how):
    buffer = io.BytesIO()
    image.save(buffer, **how)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "how", "plain"),
    [
        ("RGB", {"format": "PNG"}, True),
        ("L", {"format": "PNG"}, True),
        ("RGB", {"format": "JPEG", "quality": 95}, True),
        ("L", {"format": "JPEG", "quality": 95}, True),
        ("RGB", {"format": "JPEG", "quality": 95, "progressive": True}, True),
        ("P", {"format": "PNG"}, False),
        ("1", {"format": "PNG"}, False),
        ("CMYK", {"format": "JPEG", "quality": 95}, False),
        ("RGB", {"format": "BMP"}, False),
        ("P", {"format": "GIF"}, False),
        ("RGB", {"format": "WEBP", "lossless": True}, False),
    ],
)
def test_every_format_gives_pillows_rgb(picture, mode, how, plain):
    original = Image.fromarray(picture()).convert(mode)
    content = encoded(original, **how)
    assert sniff(content).plain is plain
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    pixels = read_image(content, PixelSpec(expected.shape[:2]))
    assert pixels.dtype == np.uint8
    # Two builds of libjpeg may round a chroma sample differently.
    assert np.abs(pixels.astype(int) - expected).max() <= (3 if how["format"] == "JPEG" else 0)
    assert scan([content])[0].reason == ""


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_alpha_is_composited_on_white(mode):
    image = Image.new("RGBA", (4, 2), (200, 0, 0, 128))
    image.putpixel((0, 0), (200, 0, 0, 0))
    image = image.quantize() if mode == "PA" else image.convert(mode)
    pixels = decode(encoded(image, format="PNG"))
    assert (pixels[0, 0] == 255).all()
    half = np.asarray(image.convert("RGBA"))[1, 1]
    expected = half[:3] * (half[3] / 255) + 255 * (1 - half[3] / 255)
    assert np.abs(pixels[1, 1] - expected).max() <= 1


def test_sixteen_bits_are_scaled_not_clipped():
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    content = encoded(Image.fromarray(values), format="PNG")
    assert decode(content)[0, :, 0].tolist() == [0, 1, 128, 255]
    assert read_image(content, PixelSpec((1, 4)))[0, :, 1].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(picture, orientation):
    image = Image.fromarray(picture())
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(image, format="JPEG", quality=95, exif=exif)
    assert sniff(content).plain is (orientation == 1)
    pixels = decode(content)
    assert pixels.shape[:2] == ((24, 32) if orientation < 5 else (32, 24))
    upright = decode(encoded(image, format="JPEG", quality=95))
    turned = {3: lambda x: x[::-1, ::-1], 6: lambda x: np.rot90(x, -1), 8: lambda x: np.rot90(x)}
    if orientation in turned:
        np.testing.assert_array_equal(pixels, turned[orientation](upright))


def test_first_frame_of_an_animation(picture):
    frames = [Image.fromarray(picture(seed)) for seed in (1, 2)]
    content = encoded(frames[0], format="WEBP", lossless=True, save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode(content), picture(1))


def png_of_claimed_size(width, height):
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def bad_images(picture):
    jpeg = encoded(Image.fromarray(picture(1, 64, 64)), format="JPEG")
    png = encoded(Image.fromarray(picture(1, 64, 64)), format="PNG")
    gif = encoded(Image.fromarray(picture(1, 64, 64)).convert("P"), format="GIF")
    webp = encoded(Image.fromarray(picture(1, 64, 64)), format="WEBP")
    bmp = encoded(Image.fromarray(picture(1, 64, 64)), format="BMP")
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 0xFF
    return {
        "empty": b"",
        "text": b"not an image at all",
        "html": b"<html><body>404</body></html>",
        "jpeg cut": jpeg[: len(jpeg) // 2],
        "jpeg head only": jpeg[:3],
        "png cut": png[: len(png) // 2],
        "png head only": png[:8],
        "png without pixels": png[:33],
        "png damaged": bytes(flipped),
        "png of no width": png_of_claimed_size(0, 10),
        "bomb": png_of_claimed_size(60_000, 60_000),
        "medium bomb": png_of_claimed_size(12_000, 10_000),
        "gif cut": gif[:20],
        "webp cut": webp[: len(webp) // 2],
        "bmp cut": bmp[:200],
        "tiff": encoded(Image.fromarray(picture()), format="TIFF"),
    }


def test_bad_images_are_named_never_a_traceback(picture):
    for name, content in bad_images(picture).items():
        assert scan([content])[0].reason, name
        with pytest.raises(UserError, match="unreadable image"):
            read_image(content, PixelSpec((8, 8)))


def test_pillow_path_names_bad_images(picture):
    for name, content in bad_images(picture).items():
        with pytest.raises(UnreadableImage):
            print(name, decode(content).shape)


def test_what_the_check_lets_through_can_be_read(picture):
    """Random damage: the check must refuse exactly what training could not decode."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(picture(1, 64, 64))
    sound = [
        encoded(image, format="JPEG"),
        encoded(image, format="JPEG", progressive=True),
        encoded(image, format="PNG"),
    ]
    refused = 0
    for k in range(90):
        damaged = bytearray(sound[k % 3])
        for place in rng.integers(2, len(damaged), 3):
            damaged[place] = rng.integers(256)
        damaged = bytes(damaged)
        if scan([damaged])[0].reason:
            refused += 1
        else:
            read_image(damaged, PixelSpec((16, 16)))
    assert refused > 30


def test_png_with_right_checksums_and_too_few_pixels():
    assert "damaged" in scan([png_of_claimed_size(200, 200)])[0].reason
    with pytest.raises(UserError, match="damaged"):
        read_image(png_of_claimed_size(200, 200), PixelSpec((8, 8)))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png cannot be opened"):
        read_image(str(tmp_path / "gone.png"), PixelSpec((8, 8)))
    assert "cannot be opened" in scan([str(tmp_path / "gone.png")])[0].reason


def test_looking_at_many_files_takes_little_memory():
    """A pool that is given each file as a task of its own keeps 1.5 kB for each."""
    files = [b""] * 20_000
    tracemalloc.start()
    try:
        facts = scan(files)
        assert tracemalloc.get_traced_memory()[1] / len(files) < 600
    finally:
        tracemalloc.stop()
    assert [fact.reason for fact in facts] == ["is empty (0 bytes)"] * 20_000
