import io
import re
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from tlkeras.config import DataConfig
from tlkeras.data import check_files, load_domain
from tlkeras.data.decode import UnreadableImage, decode
from tlkeras.data.image_header import sniff
from tlkeras.data.reading import PixelSpec, read_image
from tlkeras.data.scan import scan
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
        ("RGB", {"format": "TIFF", "compression": "tiff_lzw"}, False),
        ("L", {"format": "TIFF"}, False),
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
    assert not scan([content]).reasons


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
        "tiff of floats": encoded(Image.fromarray(np.ones((9, 9), np.float32)), format="TIFF"),
        "icon": encoded(Image.fromarray(picture()), format="ICO"),
    }


def test_bad_images_are_named_never_a_traceback(picture):
    for name, content in bad_images(picture).items():
        assert scan([content]).reasons, name
        with pytest.raises(UserError, match="unreadable image"):
            read_image(content, PixelSpec((8, 8)))


def test_pillow_path_names_bad_images(picture):
    for name, content in bad_images(picture).items():
        with pytest.raises(UnreadableImage):
            print(name, decode(content).shape)


def test_pillows_own_limit_gives_way(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # it warns of more, and raises at twice as many
    for size in (1500, 3000):
        content = encoded(Image.new("RGBA", (size, 1)), format="PNG")
        assert decode(content).shape == (1, size, 3)
        with pytest.raises(UnreadableImage, match=r"data\.max_pixels=1400"):
            decode(content, max_pixels=1400)


def test_the_largest_phone_is_let_pass_and_the_limit_is_a_field(tmp_path):
    (tmp_path / "large.jpg").write_bytes(encoded(Image.new("L", (12_000, 9_000), 200), format="JPEG"))
    config = DataConfig(source="folder:x", image_size=(8, 8))
    assert read_image(str(tmp_path / "large.jpg"), config).shape == (8, 8, 3)
    low = config.model_copy(update={"max_pixels": 90_000_000})
    said = r"12000x9000, 108,000,000 pixels.*data.max_pixels=90000000"
    with pytest.raises(UserError, match=said):
        read_image(str(tmp_path / "large.jpg"), low)
    facts = scan([str(tmp_path / "large.jpg")], max_pixels=low.max_pixels)
    assert re.search(said, facts.reasons.get(0, ""))


def test_every_reader_of_a_domain_knows_the_limit(tmp_path, picture):
    for i, label in enumerate("ab"):
        (tmp_path / label).mkdir()
        for k in range(6):
            Image.fromarray(picture(10 * i + k, 30, 40)).save(tmp_path / label / f"{k}.png")
        Image.fromarray(picture(i, 60, 60)).save(tmp_path / label / "large.png")
    how = {"source": f"folder:{tmp_path}", "image_size": 8, "max_pixels": 2000, "on_error": "skip",
           "val_fraction": 0}  # fmt: skip
    for more in ({}, {"folds": 2, "fold": 0}):
        domain, skipped = check_files(load_domain(DataConfig(**how, **more), seed=0))
        assert {name for name, _ in skipped} == {"a/large.png", "b/large.png"}
        assert all("data.max_pixels=2000" in reason for _, reason in skipped)
        assert sum(map(len, domain.splits.values())) == 12


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
        if scan([damaged]).reasons:
            refused += 1
        else:
            read_image(damaged, PixelSpec((16, 16)))
    assert refused > 30


def test_png_with_right_checksums_and_too_few_pixels():
    assert "damaged" in scan([png_of_claimed_size(200, 200)]).reasons[0]
    with pytest.raises(UserError, match="damaged"):
        read_image(png_of_claimed_size(200, 200), PixelSpec((8, 8)))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png cannot be opened"):
        read_image(str(tmp_path / "gone.png"), PixelSpec((8, 8)))
    assert "cannot be opened" in scan([str(tmp_path / "gone.png")]).reasons[0]


def test_looking_at_many_files_takes_little_memory():
    """A pool that is given each file as a task of its own keeps 1.5 kB for each."""
    files = [b""] * 20_000
    tracemalloc.start()
    try:
        facts = scan(files)
        assert tracemalloc.get_traced_memory()[1] / len(files) < 600
    finally:
        tracemalloc.stop()
    assert list(facts.reasons.values()) == ["is empty (0 bytes)"] * 20_000
