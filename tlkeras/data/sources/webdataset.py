"""Rows in tar files of the layout of WebDataset: KEY.jpg, KEY.cls, KEY.json."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np

from tlkeras.config.data import DataConfig
from tlkeras.data.shard_column import Shard, opened
from tlkeras.data.shard_places import GROUP, LABEL, Places, PlacesBuilder, ShardFormat, Wanted
from tlkeras.data.sources.base import Source, Table
from tlkeras.data.sources.listed import value_as_text
from tlkeras.data.sources.shards import head_is_compressed, table_of_shards
from tlkeras.errors import UserError

CONTENTS = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "wav", "flac", "ogg", "mp3", "aiff")


def load(argument: str, config: DataConfig, seed: int, kept_in: Path | None = None) -> Table:
    """Reads `DIR` or a pattern `DIR/NAME-*.tar`, as `table_of_shards` describes it.

    The members of a row follow one another and have the same name up to the first dot: `KEY.jpg` (or another
    format that is read, or with `data.seconds` a sound), or `KEY.npy` with numbers; and `KEY.cls` with the
    label, or `KEY.json` with the keys `label` and `group` and the columns that the config names. A member
    `KEY.NAME` is the text of the column NAME. Other members are not read. A file `classes.txt` beside the
    shards names integer labels.
    """
    how = ShardFormat("webdataset", r"\.tar$|\.tgz$|\.tar\.", _places)
    return table_of_shards(argument, config, kept_in, how)


def _places(shard: Shard, wanted: Wanted) -> Places:
    if head_is_compressed(shard):
        raise UserError(f"{shard.path} is compressed, so that no picture can be read alone: unpack it.")
    builder, key, row = PlacesBuilder(wanted, shard.path), None, {}
    read = {"cls", "json", *wanted.texts, *(("npy",) if wanted.content else ())}
    try:
        with opened(shard.path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                name, ending = _split_name(member.name)
                ending = (
                    ending if ending in read else ending.lower()
                )  # KEY.Title is a column, KEY.JPG a picture
                if name != key:
                    _finish(builder, key, row, wanted, shard)
                    key, row = name, {}
                if ending in CONTENTS and wanted.content and "place" not in row:
                    row["place"] = (member.offset_data, member.size)
                elif ending in read and (content := tar.extractfile(member)) is not None:
                    row[ending] = content.read()
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != b"\0" * tarfile.BLOCKSIZE:  # tarfile takes any end for the end
                raise tarfile.ReadError(f"no end marker after {tar.offset:,} of {shard.size:,} bytes")
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{shard.path} is truncated or is no tar file. Received: {error}") from None
    _finish(builder, key, row, wanted, shard)
    return builder.places()


def _split_name(name: str) -> tuple[str, str]:
    """Returns the key of a member, its name up to the first dot of the last part, and its last ending."""
    folder, slash, last = name.rpartition("/")
    key, _, ending = last.partition(".")
    return f"{folder}{slash}{key}", ending.rpartition(".")[2]


def _finish(builder: PlacesBuilder, key: str | None, row: dict, wanted: Wanted, shard: Shard) -> None:
    """Appends a row. Members without a picture, a sound or numbers are no row if each row must have one."""
    if key is None or (wanted.required and "place" not in row and "npy" not in row):
        return
    where = f"{shard.path}, {key}"
    texts = _texts(row, wanted, where)
    array = None
    if "npy" in row and "place" not in row:
        try:
            array = np.load(io.BytesIO(row["npy"]), allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise UserError(f"{where} has numbers that cannot be read. Received: {error}") from None
    builder.append(key, row.get("place"), texts, array)


def _texts(row: dict, wanted: Wanted, where: str) -> dict[str, str | None]:
    """Returns the label, the group and the wanted columns of a row as texts."""
    try:
        facts = json.loads(row["json"]) if "json" in row else {}
        facts = facts if isinstance(facts, dict) else {}
        texts: dict[str, str | None] = {
            name: value_as_text(facts.get(name)) for name in (LABEL, GROUP, *wanted.texts)
        }
        members = {"cls": LABEL, **{name: name for name in wanted.texts}}
        texts |= {
            name: row[ending].decode("utf-8").strip() for ending, name in members.items() if ending in row
        }
    except ValueError as error:
        raise UserError(f"{where} has a label that cannot be read. Received: {error}") from None
    return texts


SOURCE = Source(
    "webdataset",
    "webdataset:DIR",
    "tar files with members KEY.jpg (or a sound, KEY.npy) and KEY.cls or KEY.json; also gs:// and patterns",
    load,
    keeps_places=True,
)
