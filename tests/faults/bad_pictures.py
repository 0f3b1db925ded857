"""Pictures that no training should end on, by name: the bad, and odd ones that are good."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

FORMATS = {".jpg": "JPEG", ".png": "PNG", ".bmp": "BMP", ".gif": "GIF", ".webp": "WEBP", ".tif": "TIFF"}


def picture(seed: int, size: tuple[int, int] = (40, 48)) -> Image.Image:
    """Returns an RGB picture of noise, so that no two are alike."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8))


def encoded(image: Image.Image, format: str, **how) -> bytes:
    """Returns a picture as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, format, **how)
    return file.getvalue()


def bad_pictures() -> dict[str, bytes]:
    """Returns the contents of unreadable files by file name."""
    bad: dict[str, bytes] = {}
    for suffix, format in FORMATS.items():
        content = encoded(picture(1), format)
        bad |= {
            f"empty{suffix}": b"",
            f"one_byte{suffix}": content[:1],
            f"head_only{suffix}": content[:12],
            f"half{suffix}": content[: len(content) // 2],
            f"text{suffix}": b"this is no picture\n",
            f"zeros{suffix}": bytes(2000),
            f"no_head{suffix}": content[20:],
        }
    png = encoded(picture(2), "PNG")
    bad |= {
        "page.jpg": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "program.png": b"\x7fELF" + bytes(500),
        "archive.jpg": b"PK\x03\x04" + bytes(500),
        "float.tiff": encoded(Image.fromarray(np.ones((9, 9), np.float32)), "TIFF"),
        "icon.png": encoded(picture(3), "ICO"),
        "vector.png": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "no_width.png": _png(0, 10),
        "no_height.png": _png(10, 0),
        "few_pixels.png": _png(100, 100, b"\0" * 500),
        "bomb.png": _png(60_000, 60_000),
        "small_bomb.png": _png(12_000, 10_000),
        "bomb.gif": b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + b"\x80\0\0" + bytes(30),
        "wrong_checksum.png": png[:60] + bytes([png[60] ^ 0xFF]) + png[61:],
        "no_end.png": png[:-12],
        "cut_at_the_end.jpg": encoded(picture(4), "JPEG")[:-200],
        "\U0001f4a5 ünïcode.png": b"broken",
        "line\nfeed.png": b"broken",
        "l" * 200 + ".png": b"broken",
        "=HYPERLINK(1).png": b"broken",
        "<script>alert(1)<\u2215script>.png": b"broken",
    }
    return bad


def odd_pictures() -> dict[str, bytes]:
    """Returns the contents of unusual files that can be read, by file name."""
    makers: dict[str, Callable[[], bytes]] = {
        "grey.png": lambda: encoded(picture(10).convert("L"), "PNG"),
        "black_and_white.png": lambda: encoded(picture(11).convert("1"), "PNG"),
        "palette.png": lambda: encoded(picture(12).convert("P"), "PNG"),
        "transparent.png": lambda: encoded(picture(13).convert("RGBA"), "PNG"),
        "sixteen_bit.png": lambda: encoded(_sixteen_bit(), "PNG"),
        "cmyk.jpg": lambda: encoded(picture(14).convert("CMYK"), "JPEG"),
        "progressive.jpg": lambda: encoded(picture(15), "JPEG", progressive=True),
        "rotated.jpg": lambda: encoded(picture(16), "JPEG", exif=_rotated()),
        "animated.gif": lambda: encoded(picture(17), "GIF", save_all=True, append_images=[picture(18)]),
        "animated.webp": lambda: encoded(picture(19), "WEBP", save_all=True, append_images=[picture(20)]),
        "one_pixel.png": lambda: encoded(picture(21, (1, 1)), "PNG"),
        "one_line.png": lambda: encoded(picture(22, (1, 300)), "PNG"),
        "really_a_jpeg.png": lambda: encoded(picture(23), "JPEG"),
        "really_a_png.jpg": lambda: encoded(picture(24), "PNG"),
        "really_a_tiff.jpg": lambda: encoded(picture(30), "TIFF"),
        "scan.tiff": lambda: encoded(picture(31), "TIFF", compression="tiff_lzw"),
        "sixteen_bit.tif": lambda: encoded(_sixteen_bit(), "TIFF"),
        "pages.TIF": lambda: encoded(picture(32), "TIFF", save_all=True, append_images=[picture(33)]),
        "fax.tif": lambda: encoded(picture(34).convert("1"), "TIFF", compression="group4"),
        "no_suffix": lambda: encoded(picture(25), "PNG"),
        "UPPER.JPG": lambda: encoded(picture(26), "JPEG"),
        "漢字 and spaces.webp": lambda: encoded(picture(27), "WEBP"),
        "m" * 200 + ".png": lambda: encoded(picture(28), "PNG"),
        "@SUM(1).png": lambda: encoded(picture(29), "PNG"),
    }
    return {name: make() for name, make in makers.items()}


def _sixteen_bit() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 65536, (30, 30), np.uint16))


def _rotated() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _png(width: int, height: int, pixels: bytes = bytes(1000)) -> bytes:
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels))
        + chunk(b"IEND", b"")
    )  # fmt: skip
