"""The bounds of what a page accepts, checked before anything is decoded."""

import io

from tlkeras.data.image_header import NO_IMAGE, image_format
from tlkeras.errors import UserError
from tlkeras.lazy import LateModule

PIL = LateModule("PIL")

MAX_BYTES = 20 * 2**20
MAX_PIXELS = 50_000_000
MAX_CHARACTERS = 20_000


def check_picture(content: bytes) -> list[str]:
    """Checks the header of a picture, and returns notes for the person who sent it.

    Args:
        content: Content of the file.

    Raises:
        UserError: The format is not allowed, the header is damaged, or the picture has too many pixels.
    """
    if not image_format(content[:16]):
        raise UserError(f"The file {NO_IMAGE if content else 'is empty'}.")
    try:
        image = PIL.Image.open(io.BytesIO(content))
    except PIL.Image.DecompressionBombError:
        raise UserError(f"The picture has more than {MAX_PIXELS:,} pixels.") from None
    except Exception:  # as in `tlkeras.data.decode`: the plugins of Pillow raise errors of many kinds
        raise UserError("The picture is damaged or truncated.") from None
    with image:
        if image.width * image.height > MAX_PIXELS:
            raise UserError(
                f"The picture has {image.width} x {image.height} pixels. At most {MAX_PIXELS:,} are allowed."
            )
        return ["Only the first frame of the animation is read."] if _is_animated(image) else []


def _is_animated(image) -> bool:
    """Whether a picture has a second frame. No further frame is decoded."""
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # a damaged second frame does not matter
        return False


def check_text(content: bytes) -> list[str]:
    """Checks a text, and returns notes for the person who sent it.

    Args:
        content: Text in UTF-8.

    Raises:
        UserError: The text is empty or too long, or it is not UTF-8.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise UserError("The text is not UTF-8.") from None
    if not text.strip():
        raise UserError("The text is empty.")
    if len(text) > MAX_CHARACTERS:
        raise UserError(f"The text has {len(text):,} characters. At most {MAX_CHARACTERS:,} are allowed.")
    return []


def check_sound(content: bytes) -> list[str]:
    """Returns no notes: the reader of sounds checks the format and the duration in the header itself."""
    return []


# by the name of the modality; the page takes no others
CHECKS = {"image": check_picture, "sound": check_sound, "text": check_text}
