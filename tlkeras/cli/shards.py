"""Writes the rows of a data source into shards: TFRecord files, or tar files of WebDataset's layout."""

import shlex

from absl import flags as absl_flags

from tlkeras import messages
from tlkeras.backend import import_tensorflow
from tlkeras.cli.common import config_from, define_config_flags, no_arguments
from tlkeras.errors import UserError

USAGE = "tlkeras shards --config=FILE|NAME --output=DIR [--format=tfrecords|webdataset] [--shuffle] [flags]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    define_config_flags(flags)
    absl_flags.DEFINE_string("output", None, "Empty or new folder, on a disk or gs://.", flag_values=flags)
    absl_flags.DEFINE_string(
        "format", "tfrecords", "tfrecords or webdataset. Both are sources of data.", flag_values=flags
    )
    absl_flags.DEFINE_integer(
        "shard_mb", 256, "Size in MiB from which on a new file begins.", lower_bound=1, flag_values=flags
    )
    absl_flags.DEFINE_boolean(
        "shuffle", False, "Shuffle the rows of each split, for data.order=shards.", flag_values=flags
    )


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    no_arguments(flags, arguments)
    if not flags.output:
        raise UserError("--output is missing: name an empty or new folder for the shards.")
    config = config_from(flags)
    import_tensorflow()
    from tlkeras.data.shard_writing import write_shards
    from tlkeras.prepare import read_domains

    domain = read_domains(config)["source"]
    seed = config.seed if flags.shuffle else None
    written = write_shards(domain, flags.output.rstrip("/"), flags.format, flags.shard_mb, seed)
    settings = (f"data.source={flags.format}:{flags.output}", *written.settings)
    needed = " ".join(f"--set {shlex.quote(setting)}" for setting in settings)
    messages.result(
        f"{written.rows:,} rows, {written.size / 2**20:,.0f} MiB in {written.shards} files of "
        f"{flags.output}. Train on them with {needed}"
    )
