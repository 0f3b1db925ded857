"""Facts from the header of an encoded image, read without decoding it."""

import struct
import zlib
from dataclasses import dataclass

from tlkeras.config.data import MAX_PIXELS

READ_FORMATS = "JPEG, PNG, BMP, GIF, WebP and TIFF"
NO_IMAGE = "is not a JPEG, PNG, BMP, GIF, WebP or TIFF image"

# The XMP field of a picture's orientation. Pillow applies it and TensorFlow does not.
_XMP_ORIENTATION = b"tiff:Orientation"
# TensorFlow refuses to decode a JPEG with this many values (pixels times 3) or more.
_LARGEST_JPEG = 2**29


@dataclass(frozen=True)
class Header:
    """Facts from the header of an encoded image.

    Attributes:
        format: `"jpeg"`, `"png"`, `"gif"`, `"bmp"`, `"webp"`, `"tiff"`, or `""` for anything else.
        width: Stored width in pixels, before the EXIF orientation is applied. 0 if only Pillow can read it.
        height: Stored height in pixels, likewise.
        plain: Whether TensorFlow's decoder gives the same pixels as Pillow. This holds for an upright 8-bit
            JPEG in grey or YCbCr and for an upright 8-bit PNG in grey or RGB without transparency.
    """

    format: str
    width: int = 0
    height: int = 0
    plain: bool = False


def image_format(head: bytes) -> str:
    """Returns the format that the first 16 bytes of a file announce, or an empty string."""
    if head[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):  # the last two are BigTIFF
        return "tiff"
    return "bmp" if head[:2] == b"BM" else ""


def too_large(width: int, height: int, max_pixels: int) -> str:
    """Returns the reason why an image of this size is refused, or an empty string if it is not.

    Args:
        width: Width in pixels.
        height: Height in pixels.
        max_pixels: Largest allowed number of pixels.
    """
    if width * height <= max_pixels:
        return ""
    return (
        f"is too large ({width}x{height}, {width * height:,} pixels; a decompression bomb? "
        f"data.max_pixels={max_pixels} can be raised)"
    )


def sniff(content: bytes) -> Header:
    """Reads the header of an encoded image. It never raises; a header that it cannot read is not plain."""
    kind = image_format(content[:16])
    try:
        if kind == "jpeg":
            return _jpeg_header(content)
        if kind == "png":
            return _png_header(content)
    except (struct.error, IndexError):
        pass
    return Header(kind)


def _png_header(content: bytes) -> Header:
    width, height, depth, color, _, interlace = struct.unpack(">IIBBBB", content[16:28])
    interlace = content[28]
    plain = depth == 8 and color in (0, 2) and interlace == 0
    position = 33
    while plain and position < len(content):
        (length,) = struct.unpack(">I", content[position : position + 4])
        chunk = content[position + 4 : position + 8]
        # Pillow handles transparency and orientation. A PNG may store these chunks after its pixels.
        plain = chunk not in (b"tRNS", b"eXIf")
        if chunk in (b"iTXt", b"tEXt", b"zTXt"):
            text = content[position + 8 : position + 8 + length]
            plain = _XMP_ORIENTATION not in text and not text.startswith(b"Raw profile type exif")
        position += length + 12
    return Header("png", width, height, plain)


def _jpeg_header(content: bytes) -> Header:
    position, upright = 2, True
    while content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        (length,) = struct.unpack(">H", content[position + 2 : position + 4])
        body = position + 4
        if marker == 0xE1 and content[body : body + 6] == b"Exif\0\0":
            upright = upright and _exif_orientation(content[body + 6 : position + 2 + length]) == 1
        if marker == 0xE1 and _XMP_ORIENTATION in content[body : position + 2 + length]:
            upright = False
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            precision, height, width, parts = struct.unpack(">BHHB", content[body : body + 6])
            names = content[body + 6 : body + 6 + 3 * parts : 3]
            plain = upright and precision == 8 and parts in (1, 3) and names != b"RGB"
            plain = plain and 3 * height * width < _LARGEST_JPEG
            return Header("jpeg", width, height, plain and marker in (0xC0, 0xC1, 0xC2))
        position += 2 + length
    return Header("jpeg")


def _exif_orientation(tiff: bytes) -> int:
    """Returns the orientation tag (1 is upright), or 0 where the block cannot be read."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 0
    try:
        (start,) = struct.unpack(order + "I", tiff[4:8])
        (count,) = struct.unpack(order + "H", tiff[start : start + 2])
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            if struct.unpack(order + "H", tiff[entry : entry + 2])[0] == 0x0112:
                return struct.unpack(order + "H", tiff[entry + 8 : entry + 10])[0]
    except struct.error:
        return 0
    return 1


def defect(content: bytes, header: Header, max_pixels: int = MAX_PIXELS) -> str:
    """Checks the structure of a plain image. Returns the reason why it cannot be decoded, or an empty string.

    Args:
        content: Content of the file.
        header: Header of the image.
        max_pixels: Largest allowed number of pixels.
    """
    if header.width == 0 or header.height == 0:
        return "has no pixels"
    if reason := too_large(header.width, header.height, max_pixels):
        return reason
    if header.format == "jpeg":
        # Some cameras add padding after the end marker. A truncated JPEG has no end marker near its end.
        return "" if b"\xff\xd9" in content[-4096:] else "is truncated (no end marker)"
    position = 8
    while position + 12 <= len(content):
        (length,) = struct.unpack(">I", content[position : position + 4])
        end = position + 8 + length
        if end + 4 > len(content):
            break
        if zlib.crc32(content[position + 4 : end]) != struct.unpack(">I", content[end : end + 4])[0]:
            return "is damaged (checksum of a PNG chunk)"
        if content[position + 4 : position + 8] == b"IEND":
            return ""
        position = end + 4
    return "is truncated (no end chunk)"
