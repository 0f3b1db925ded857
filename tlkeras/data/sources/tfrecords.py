"""Encoded pictures or sounds with labels in TFRecord files of `tf.train.Example`."""

import functools
from pathlib import Path

from tlkeras.config.data import DataConfig
from tlkeras.data.shard_column import Shard
from tlkeras.data.sources.base import Source, Table, options
from tlkeras.data.sources.shards import (
    Places,
    PlacesBuilder,
    ShardFormat,
    head_is_compressed,
    table_of_shards,
    unknown_feature,
)
from tlkeras.errors import UserError
from tlkeras.lazy import LateModule

tf = LateModule("tensorflow")

# The names under which usual files hold the content and the label; the first is what tlkeras writes.
CONTENTS = ("image/encoded", "audio/encoded", "image", "audio", "image_raw", "jpg", "jpeg", "png", "wav")
LABELS = ("image/class/label", "label", "cls", "class")
NAME = "image/filename"


def load(argument: str, config: DataConfig, seed: int, kept_in: Path | None = None) -> Table:
    """Reads `DIR` or a pattern `DIR/NAME-*.tfrecord`, as `table_of_shards` describes it.

    A record is a `tf.train.Example` with an encoded picture (or with `data.seconds` a sound) and optionally a
    label: a number, several numbers, or a text. `?content=NAME&label=NAME` names these features, which are
    otherwise found under usual names. A file `classes.txt` beside the shards names integer labels.
    """
    path, names = options(f"tfrecords:{argument}", argument, {"content": "", "label": ""})
    find = functools.partial(_places, content=names["content"], label=names["label"])
    how = ShardFormat("tfrecords", r"\.tfrecords?($|[-.])", find, f"{names['content']}&{names['label']}")
    return table_of_shards(path, config, kept_in, how)


def _places(shard: Shard, content: str, label: str) -> Places:
    if head_is_compressed(shard):
        raise UserError(f"{shard.path} is compressed, so that no record can be read alone: unpack it.")
    builder, begin = PlacesBuilder(), 0
    try:
        for number, record in enumerate(tf.data.TFRecordDataset(shard.path).as_numpy_iterator()):
            where = f"{shard.path}, record {number}"
            features = _features(record, where)
            chosen = _chosen(features, content, CONTENTS, "picture or sound", where)
            encoded = features[chosen].bytes_list.value[0]
            named = _chosen(features, label, LABELS, "label", where)
            key = str(number).zfill(8)
            text = None if named is None else _text(features[named])
            builder.append(begin + 12 + record.index(encoded), len(encoded), key, text)
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


def _chosen(features, given: str, usual: tuple[str, ...], what: str, where: str) -> str | None:
    """Returns the name of the feature that holds the content or the label. A label may be missing."""
    if given:
        if given not in features or not _has_value(features[given], what):
            raise unknown_feature(what, given, list(features), where)
        return given
    found = next((name for name in usual if name in features and _has_value(features[name], what)), None)
    if found is None and what != "label":
        raise unknown_feature(what, usual[0], list(features), f"{where}: name it by ?content=NAME. It")
    return found


def _has_value(feature, what: str) -> bool:
    kind = feature.WhichOneof("kind")
    return (
        kind is not None
        and len(getattr(feature, kind).value) > 0
        and (what == "label" or kind == "bytes_list")
    )


def _text(feature) -> str:
    values = getattr(feature, feature.WhichOneof("kind")).value
    return "|".join(v.decode("utf-8", "replace") if isinstance(v, bytes) else repr(v) for v in values)


SOURCE = Source(
    "tfrecords",
    "tfrecords:DIR",
    "TFRecord files of encoded pictures, or with data.seconds sounds, with labels; also gs:// and patterns",
    load,
    keeps_places=True,
)
