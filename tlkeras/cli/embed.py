"""Writes feature vectors of files and folders, or their nearest training images, or their clusters.

Started several times with the same run and the same files, also on several machines, it divides the files. A
process that dies leaves what it has finished, and the next start computes only the rest.
"""

import sys
from pathlib import Path

from absl import flags as absl_flags

from tlkeras import evaluation, messages, runs
from tlkeras.backend import import_tensorflow
from tlkeras.errors import UserError
from tlkeras.lazy import LateModule
from tlkeras.run_dir import check_writable, replacing, write_text

np = LateModule("numpy")

USAGE = "tlkeras embed RUN PATH... [--output=FILE.npz|FILE.csv] [--neighbors=K | --clusters=K [--mixture]]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    absl_flags.DEFINE_string(
        "output",
        None,
        "Output file, .npz or .csv. The default is features.csv in a terminal, else CSV on stdout.",
        flag_values=flags,
    )
    absl_flags.DEFINE_integer(
        "neighbors",
        0,
        "Write the K nearest training images instead of features.",
        lower_bound=0,
        flag_values=flags,
    )
    absl_flags.DEFINE_integer(
        "clusters",
        0,
        "Group the files into K clusters by k-means instead. The default output is clusters.csv.",
        lower_bound=0,
        flag_values=flags,
    )
    absl_flags.DEFINE_boolean(
        "mixture", False, "Find the clusters with a Gaussian mixture.", flag_values=flags
    )
    absl_flags.DEFINE_string(
        "cache_dir", None,
        "Folder in which several such processes share the features of many files. The default is that of the "
        "run, cache.dir.",
        flag_values=flags,
    )  # fmt: skip


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    if len(arguments) < 2:
        received = " ".join(arguments) or "nothing"
        raise UserError(f"Name a run directory and at least one file or folder. Received: {received}")
    _check(flags)
    output: str = flags.output or _default_output(flags) or ""
    if output:
        check_writable(Path(output).parent)
    else:
        messages.set_verbosity(min(flags.verbosity, -1))  # standard output is for the answer
    import_tensorflow()
    saved = runs.saved_run.load_run(arguments[0])
    cache = saved.config.cache.model_copy(update={"dir": flags.cache_dir or saved.config.cache.dir})
    found = runs.retrieval.embed_files(saved, arguments[1:], cache)
    for path, reason in found.skipped:
        messages.error(f"skipped {path}: {reason}")
    if flags.clusters:
        _write_clusters(flags, found, arguments[1:], output)
        return
    if output.endswith(".npz"):
        _write_npz(output, found)
    else:
        _write_text(output, _neighbours(saved, found, flags.neighbors) if flags.neighbors else _table(found))
    if output:
        what = "their nearest training images" if flags.neighbors else "their features"
        messages.result(f"{len(found.names)} files and {what} written to {output}")


def _default_output(flags: absl_flags.FlagValues) -> str | None:
    """Returns the output path, or None for stdout. In a terminal, feature vectors go to a file."""
    if flags.clusters:
        return "clusters.csv"
    return "features.csv" if sys.stdout.isatty() and not flags.neighbors else None


def _check(flags: absl_flags.FlagValues) -> None:
    suffix = Path(flags.output).suffix if flags.output else ".csv"
    allowed = (".csv",) if flags.neighbors or flags.clusters else (".csv", ".npz")
    if suffix not in allowed:
        raise UserError(f"--output must end in {' or '.join(allowed)}. Received: output={flags.output}")
    if flags.neighbors and flags.clusters:
        raise UserError(
            "Only one of --neighbors and --clusters can be given. "
            f"Received: neighbors={flags.neighbors}, clusters={flags.clusters}"
        )
    if flags.mixture and not flags.clusters:
        raise UserError("--mixture needs --clusters=K. Received: clusters=0")


def _write_clusters(flags: absl_flags.FlagValues, found, paths: list[str], output: str) -> None:
    """Writes the cluster of each file, and prints how well the clusters agree with the class folders."""
    kind = "gaussian_mixture" if flags.mixture else "k_means"
    assigned = evaluation.clusters.cluster(found.features, flags.clusters, kind=kind).assigned
    labels = runs.retrieval.folder_labels(found.names, paths)
    rows = [
        [name, int(number), label or ""]
        for name, number, label in zip(found.names, assigned, labels, strict=True)
    ]
    _write_text(output, evaluation.prediction_files.csv_text(["path", "cluster", "label"], rows))
    known = [i for i, label in enumerate(labels) if label is not None]
    classes = np.array([labels[i] for i in known])
    if len(set(classes)) > 1:
        scores = evaluation.clusters.cluster_scores(assigned[known], classes)
        messages.result(
            f"{len(known)} files in {len(set(classes))} class folders: NMI {scores['nmi']:.3f}, "
            f"ARI {scores['ari']:.3f}, matched accuracy {scores['matched_accuracy']:.3f}"
        )
    messages.result(f"{len(found.names)} files in {flags.clusters} clusters written to {output}")


def _write_npz(path: str, found) -> None:
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, features=found.features, names=np.array(found.names))


def _write_text(path: str | None, text: str) -> None:
    write_text(path, text) if path else sys.stdout.write(text)


def _table(found) -> str:
    columns = ["file", *(f"feature_{i}" for i in range(found.features.shape[1]))]
    rows = [[name, *map(float, row)] for name, row in zip(found.names, found.features, strict=True)]
    return evaluation.prediction_files.csv_text(columns, rows)


def _neighbours(saved, found, count: int) -> str:
    nearest = runs.retrieval.nearest_training_rows(saved, found.features, count)
    rows = [
        [name, rank, hit["id"], hit["label"], hit["similarity"]]
        for name, hits in zip(found.names, nearest, strict=True)
        for rank, hit in enumerate(hits, start=1)
    ]
    return evaluation.prediction_files.csv_text(["file", "rank", "neighbor", "label", "similarity"], rows)
