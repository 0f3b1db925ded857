"""Pictures or sounds with labels in tar files of the layout of WebDataset: KEY.jpg, KEY.cls, KEY.json."""

import json
import tarfile
from pathlib import Path

from tlkeras.config.data import DataConfig
from tlkeras.data.shard_column import Shard, opened
from tlkeras.data.sources.base import Source, Table
from tlkeras.data.sources.listed import value_as_text
from tlkeras.data.sources.shards import (
    Places,
    PlacesBuilder,
    ShardFormat,
    head_is_compressed,
    table_of_shards,
)
from tlkeras.errors import UserError

CONTENTS = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "wav", "flac", "ogg", "mp3", "aiff")


def load(argument: str, config: DataConfig, seed: int, kept_in: Path | None = None) -> Table:
    """Reads `DIR` or a pattern `DIR/NAME-*.tar`, as `table_of_shards` describes it.

    The members of a row follow one another and have the same name up to the first dot: `KEY.jpg` (or another
    format that is read, or with `data.seconds` a sound), and `KEY.cls` with the label, or `KEY.json` with the
    key `label`. Other members are not read. A file `classes.txt` beside the shards names integer labels.
    """
    how = ShardFormat("webdataset", r"\.tar$|\.tgz$|\.tar\.", _places)
    return table_of_shards(argument, config, kept_in, how)


def _places(shard: Shard) -> Places:
    if head_is_compressed(shard):
        raise UserError(f"{shard.path} is compressed, so that no picture can be read alone: unpack it.")
    builder, key, row = PlacesBuilder(), None, {}
    try:
        with opened(shard.path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                name, ending = _split_name(member.name)
                if name != key:
                    _finish(builder, key, row, shard)
                    key, row = name, {}
                if ending in CONTENTS and "place" not in row:
                    row["place"] = (member.offset_data, member.size)
                elif ending in ("cls", "json") and (content := tar.extractfile(member)) is not None:
                    row[ending] = content.read()
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != b"\0" * tarfile.BLOCKSIZE:  # tarfile takes any end for the end
                raise tarfile.ReadError(f"no end marker after {tar.offset:,} of {shard.size:,} bytes")
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{shard.path} is truncated or is no tar file. Received: {error}") from None
    _finish(builder, key, row, shard)
    return builder.places()


def _split_name(name: str) -> tuple[str, str]:
    """Returns the key of a member, its name up to the first dot of the last part, and its last ending."""
    folder, slash, last = name.rpartition("/")
    key, _, ending = last.partition(".")
    return f"{folder}{slash}{key}", ending.rpartition(".")[2].lower()


def _finish(builder: PlacesBuilder, key: str | None, row: dict, shard: Shard) -> None:
    if key is not None and "place" in row:
        begin, size = row["place"]
        builder.append(begin, size, key, _label(row, f"{shard.path}, {key}"))


def _label(row: dict, where: str) -> str | None:
    try:
        if "cls" in row:
            return row["cls"].decode("utf-8").strip()
        if "json" in row:
            facts = json.loads(row["json"])
            return value_as_text(facts.get("label")) if isinstance(facts, dict) else None
    except ValueError as error:
        raise UserError(f"{where} has a label that cannot be read. Received: {error}") from None
    return None


SOURCE = Source(
    "webdataset",
    "webdataset:DIR",
    "tar files with members KEY.jpg (or a sound) and KEY.cls or KEY.json; also gs:// and patterns",
    load,
    keeps_places=True,
)
