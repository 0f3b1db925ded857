"""Rows in a form for people: small picture files, or the words of texts, with their explanations."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlkeras.data import Domain, evaluation_batches
from tlkeras.data.input_shapes import joined, zeros
from tlkeras.data.modalities import Modality
from tlkeras.data.rows import Rows
from tlkeras.run_dir import replacing

LARGEST_SIDE = 320


def inputs_of(rows: Rows, domain: Domain) -> Any:
    """Returns the model's inputs of rows, NumPy `(n, *input_shape)`, or a dict of them."""
    batches = evaluation_batches(rows, domain, batch_size=min(len(rows), 64))
    return joined([x for x, _, _ in batches])


def can_be_shown(domain: Domain) -> bool:
    """Whether the rows of a domain can be shown, because they are pictures or texts."""
    example = zeros(domain.input_shape, 1, domain.modality.dtypes)
    return domain.modality.pictures(example) is not None or domain.modality.texts(example) is not None


def keep_rows(
    folder: Path,
    stems: list[str],
    inputs: Any,
    modality: Modality,
    maps: np.ndarray | None = None,
    *,
    largest_side: int = LARGEST_SIDE,
) -> list[dict[str, Any]]:
    """Writes pictures and heat maps of rows, and returns an index entry for each row.

    Args:
        folder: Folder of the files.
        stems: Beginning of the file names of each row.
        inputs: Inputs of the rows that `inputs_of` returned.
        modality: Modality of the rows.
        maps: Explanations in 0..1, `(n, h, w)` for pictures, `(n, tokens)` for texts; or None.
        largest_side: Height and width in pixels above which pictures are made smaller.

    Returns:
        One dict per row. For pictures it has `picture`, the name of a PNG file, and with maps `heat`, the
        name of a grey PNG file. For texts it has `words`, a list, and with maps `weights`, a number in 0..1
        for each word. For sounds it also has `sound`, the name of a WAV file.
    """
    pictures, texts = modality.pictures(inputs), modality.texts(inputs)
    recordings = modality.recordings(inputs)
    kept: list[dict[str, Any]] = [{} for _ in stems]
    for i, (stem, facts) in enumerate(zip(stems, kept, strict=True)):
        if pictures is not None:
            facts["picture"] = f"{stem}.png"
            save_png(folder / facts["picture"], pictures[i], largest_side)
            if maps is not None:
                facts["heat"] = f"{stem}_heat.png"
                save_png(folder / facts["heat"], 255 * maps[i], largest_side)
        if recordings is not None:
            facts["sound"] = f"{stem}.wav"
            with replacing(folder / facts["sound"]) as temporary:
                Path(temporary).write_bytes(recordings[i])
        if texts is not None:
            facts["words"] = texts[i]
            if maps is not None and pictures is None:
                facts["weights"] = [round(float(weight), 4) for weight in maps[i][: len(texts[i])]]
    return kept


def save_png(path: Path, pixels: np.ndarray, largest_side: int = LARGEST_SIDE) -> None:
    """Writes pixels in 0..255, `(h, w)` or `(h, w, 3)`. A side is at most `largest_side` pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.clip(np.round(np.nan_to_num(pixels)), 0, 255).astype(np.uint8))
    image.thumbnail((largest_side, largest_side))
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")
