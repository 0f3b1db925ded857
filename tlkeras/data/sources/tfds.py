"""Datasets of TensorFlow Datasets (TFDS). The package is imported only if such a dataset is used."""

import socket
import threading

import numpy as np

from tlkeras.config.data import DataConfig
from tlkeras.data.rows import Rows
from tlkeras.data.sources.base import Source, Table
from tlkeras.data.sources.tfds_records import read_columns, record_images
from tlkeras.errors import UserError, nearest, unknown

_USUAL_NAMES = {"train": ("train",), "val": ("validation", "val", "valid"), "test": ("test",)}
_DOWNLOAD_HOST = "storage.googleapis.com"


def load(argument: str, config: DataConfig, seed: int) -> Table:
    """Reads a prepared dataset. A dataset that is not prepared is downloaded if there is a network.

    If the files fit into `data.memory_mb`, the encoded images are kept in memory. Otherwise each image is
    read from its record file. Both allow random access to the rows. `split_names` can have TFDS slices such
    as `train[:80%]`.
    """
    import tensorflow_datasets as tfds

    builder = _builder(tfds, argument, config)
    image, label = _keys(tfds, builder, config.source)
    splits = {}
    for split in _USUAL_NAMES:
        theirs = _split_name(builder, split, config)
        if theirs is not None:
            splits[split] = _rows(tfds, builder, theirs, image, label, config)
    classes = getattr(_class_feature(dict(builder.info.features).get(label)), "names", None)
    return Table(splits, tuple(classes) if classes else None)


def _builder(tfds, argument, config):
    if not argument:
        raise UserError("data.source needs a name after tfds:, as in tfds:mnist. Received: 'tfds:'")
    try:
        builder = tfds.builder(argument, data_dir=config.data_dir)
    except tfds.core.DatasetNotFoundError:
        hint = nearest(argument.partition("/")[0], tfds.list_builders(with_community_datasets=False))
        raise UserError(f"TFDS has no dataset of that name.{hint} Received: {argument!r}") from None
    except (ValueError, AssertionError, OSError) as error:
        raise UserError(f"TFDS refuses this dataset: {_line(error)}. Received: {argument!r}") from None
    try:  # The data may be prepared already, and a download attempt hangs for minutes without a network.
        builder.as_dataset(split="train")
    except (AssertionError, FileNotFoundError):
        _prepare(builder, config)
    except ValueError:
        pass  # prepared, without a split of that name
    return builder


def _prepare(builder, config):
    if not _resolves(_DOWNLOAD_HOST):
        raise UserError(
            f"The dataset is not prepared and there is no network to download it. Prepare it on a machine "
            f"that has one (tfds build {builder.name}), copy it here and set data.data_dir. "
            f"Received: {config.source!r}, looked in {builder.data_path}"
        )
    try:
        builder.download_and_prepare()
    except Exception as error:  # downloads fail in many ways; each is the user's to mend
        raise UserError(f"TFDS cannot prepare it: {_line(error)}. Received: {config.source!r}") from error


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def _resolves(host: str, seconds: float = 3.0) -> bool:
    """Whether the name of a host can be looked up within `seconds`."""
    found = []

    def look_up():
        try:
            found.append(socket.getaddrinfo(host, 443))
        except OSError:
            return

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(found)


def _keys(tfds, builder, source):
    """Finds the names of the image and label features."""
    features = dict(builder.info.features)
    if builder.info.supervised_keys:
        image, label = builder.info.supervised_keys[:2]
    else:
        image = next((k for k, f in features.items() if isinstance(f, tfds.features.Image)), None)
        label = next((k for k, f in features.items() if _class_feature(f) is not None), None)
    if not isinstance(features.get(image), tfds.features.Image):
        raise UserError(f"This TFDS dataset holds no images. Received: {source!r} with {', '.join(features)}")
    return image, label


def _class_feature(feature):
    """Returns `feature` if it is a ClassLabel, its element if it is a sequence of ClassLabels, else None."""
    inner = getattr(feature, "feature", feature)
    return inner if hasattr(inner, "names") and hasattr(inner, "num_classes") else None


def _split_name(builder, split, config):
    if split in config.split_names:
        named, known = config.split_names[split], list(builder.info.splits)
        base = named.partition("[")[0]
        if known and not set(base.split("+")) <= {*known, "all"}:
            raise unknown(f"split of {config.source}", base, known)
        return named
    known = builder.info.splits or ("train",)
    return next((name for name in _USUAL_NAMES[split] if name in known), None)


def _rows(tfds, builder, split, image, label, config):
    known = builder.info.splits
    size = sum(known[name].num_bytes for name in known) if known else 0
    in_memory = size <= config.memory_mb * 2**20
    ids, columns = _columns(tfds, builder, split, image if in_memory else None, label, config)
    if in_memory:
        inputs = np.array([x for part in columns[image] for x in part], object)
    else:
        inputs = record_images(builder, split, image, config.source)
    labels = None if label is None else _labels(builder.info.features[label], columns[label])
    return Rows(inputs, labels, ids)


def _columns(tfds, builder, split, image, label, config):
    """Returns ids, encoded images (unless `image` is None) and labels, in the order of the files."""
    import tensorflow as tf

    scalar = {image: tf.io.FixedLenFeature([], tf.string)} if image else {}
    feature = dict(builder.info.features).get(label)
    try:
        if builder.info.splits and builder.info.file_format.value == "tfrecord":
            if isinstance(feature, tfds.features.ClassLabel):
                return read_columns(builder, split, {**scalar, label: tf.io.FixedLenFeature([], tf.int64)})
            if _class_feature(feature) is not None:
                return read_columns(builder, split, {**scalar, label: tf.io.RaggedFeature(tf.int64)})
        dataset = _read(tfds, builder, split, image, label)
    except (ValueError, AssertionError, KeyError) as error:
        raise UserError(f"{config.source} has no such split: {_line(error)}. Received: {split!r}") from None
    parts = list(dataset.ragged_batch(1024).as_numpy_iterator())
    ids = np.array([name.decode() for part in parts for name in part["tfds_id"]], object)
    return ids, {name: [part[name] for part in parts] for name in (image, label) if name}


def _read(tfds, builder, split, image, label):
    """Opens some features with TFDS's own reader, which leaves the images encoded."""
    decoders = {image: tfds.decode.SkipDecoding()} if image else {}
    columns = {name: True for name in (image, label) if name}
    return builder.as_dataset(
        split=split,
        decoders=tfds.decode.PartialDecoding(columns, decoders),
        read_config=tfds.ReadConfig(interleave_cycle_length=1, add_tfds_id=True),
    )


def _labels(feature, parts):
    """Returns labels as an array. If a row has several classes, its label is `a|b`."""
    classes = _class_feature(feature)
    if classes is not feature and classes is not None:
        names = np.array(classes.names, object)
        rows = [row for part in parts for row in (part.to_list() if hasattr(part, "to_list") else part)]
        return np.array(["|".join(names[list(row)]) for row in rows], object)
    return np.concatenate([np.asarray(part) for part in parts])


SOURCE = Source("tfds", "tfds:NAME[/config]", "a prepared or downloadable TensorFlow dataset", load)
