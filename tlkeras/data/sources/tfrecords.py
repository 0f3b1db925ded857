"""Rows in TFRecord files of `tf.train.Example`: encoded pictures or sounds, numbers, texts, labels."""

import functools
from pathlib import Path

import numpy as np

from tlkeras.config.data import DataConfig
from tlkeras.data.shard_column import Shard
from tlkeras.data.shard_places import ARRAY, GROUP, LABEL, Places, PlacesBuilder, ShardFormat, Wanted
from tlkeras.data.sources.base import Source, Table, options
from tlkeras.data.sources.shards import head_is_compressed, table_of_shards, unknown_feature
from tlkeras.errors import UserError
from tlkeras.lazy import LateModule

tf = LateModule("tensorflow")

# The names under which usual files hold the content and the label; the first is what tlkeras writes.
CONTENTS = ("image/encoded", "audio/encoded", "image", "audio", "image_raw", "jpg", "jpeg", "png", "wav")
LABELS = ("image/class/label", "label", "cls", "class")
NAME = "image/filename"


def load(argument: str, config: DataConfig, seed: int, kept_in: Path | None = None) -> Table:
    """Reads `DIR` or a pattern `DIR/NAME-*.tfrecord`, as `table_of_shards` describes it.

    A record is a `tf.train.Example` with an encoded picture (or with `data.seconds` a sound) or with floats
    (`array`, and optionally their `array/shape`), and optionally with a label (a number, several numbers, or
    a text), a `group` and the columns that the config names. `?content=NAME&label=NAME` names the features of
    the content and the label, which are otherwise found under usual names. A file `classes.txt` beside the
    shards names integer labels.
    """
    path, names = options(f"tfrecords:{argument}", argument, {"content": "", "label": ""})
    find = functools.partial(_places, content=names["content"], label=names["label"])
    how = ShardFormat("tfrecords", r"\.tfrecords?($|[-.])", find, f"{names['content']}&{names['label']}")
    return table_of_shards(path, config, kept_in, how)


def _places(shard: Shard, wanted: Wanted, content: str, label: str) -> Places:
    if head_is_compressed(shard):
        raise UserError(f"{shard.path} is compressed, so that no record can be read alone: unpack it.")
    builder, begin = PlacesBuilder(wanted, shard.path), 0
    try:
        for number, record in enumerate(tf.data.TFRecordDataset(shard.path).as_numpy_iterator()):
            where = f"{shard.path}, record {number}"
            features = _features(record, where)
            place, array = None, None
            if chosen := _content(features, wanted, content, where):
                if features[chosen].WhichOneof("kind") == "float_list":
                    array = _array(features, chosen, where)
                else:
                    encoded = features[chosen].bytes_list.value[0]
                    place = (begin + 12 + record.index(encoded), len(encoded))
            texts = {name: _text(features[name]) for name in (GROUP, *wanted.texts) if name in features}
            if named := _label(features, label, where):
                texts[LABEL] = _text(features[named])
            builder.append(str(number).zfill(8), place, texts, array)
            begin += len(record) + 16
    except (tf.errors.DataLossError, tf.errors.OutOfRangeError):
        raise UserError(
            f"{shard.path} is truncated or damaged after {begin:,} of {shard.size:,} bytes: write it again."
        ) from None
    return builder.places()


def _features(record: bytes, where: str):
    try:
        return tf.train.Example.FromString(record).features.feature
    except Exception as error:  # protobuf's DecodeError lives in a package that TensorFlow brings
        raise UserError(f"{where} is no tf.train.Example. Received: {type(error).__name__}") from None


def _content(features, wanted: Wanted, given: str, where: str) -> str | None:
    """Returns the name of the feature with the picture, the sound or the numbers, or None without one."""
    if not wanted.content:
        return None
    kinds = ("bytes_list", "float_list") if wanted.required else ("bytes_list",)
    found = _first(features, (given,) if given else (*CONTENTS, ARRAY), kinds)
    if found is None and wanted.required:
        hint = "" if given else ": name it by ?content=NAME. It"
        raise unknown_feature("picture or sound", given or CONTENTS[0], list(features), f"{where}{hint}")
    return found


def _label(features, given: str, where: str) -> str | None:
    """Returns the name of the feature with the label, or None if there is none."""
    found = _first(features, (given,) if given else LABELS, ("bytes_list", "float_list", "int64_list"))
    if found is None and given:
        raise unknown_feature("label", given, list(features), where)
    return found


def _first(features, names: tuple[str, ...], kinds: tuple[str, ...]) -> str | None:
    """Returns the first of these names under which a feature of one of these kinds has a value."""
    for name in names:
        kind = features[name].WhichOneof("kind") if name in features else None
        if kind in kinds and len(getattr(features[name], kind).value):
            return name
    return None


def _array(features, name: str, where: str) -> np.ndarray:
    values = np.array(features[name].float_list.value, np.float32)
    shape = features[f"{name}/shape"].int64_list.value if f"{name}/shape" in features else [len(values)]
    if np.prod(shape) != len(values):
        raise UserError(
            f"{where}: {name}/shape does not fit. Received: {list(shape)} for {len(values)} values"
        )
    return values.reshape(shape)


def _text(feature) -> str:
    kind = feature.WhichOneof("kind")
    values = getattr(feature, kind).value if kind else ()
    return "|".join(v.decode("utf-8", "replace") if isinstance(v, bytes) else repr(v) for v in values)


SOURCE = Source(
    "tfrecords",
    "tfrecords:DIR",
    "TFRecord files of encoded pictures or sounds, numbers or texts, with labels; also gs:// and patterns",
    load,
    keeps_places=True,
)
