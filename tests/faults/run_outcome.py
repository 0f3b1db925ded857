"""What a run came to, as values that must be the same to the bit however often it was interrupted."""

import csv
import hashlib
import io
import json
import zipfile
from pathlib import Path

from tlkeras.run_dir import CheckpointStore


def outcome(workdir: Path) -> dict[str, object]:
    """Returns names and values: weights, optimizer, best-so-far, logs and metrics of a finished run."""
    found: dict[str, object] = {}
    stages = sorted(path for path in (workdir / "stages").iterdir() if path.name != "best")
    for stage in stages:
        arrays, state = CheckpointStore(stage / "checkpoint").load()
        found |= {f"{stage.name}/{name}": _digest(array.tobytes()) for name, array in arrays.items()}
        state.pop("training_seconds")
        found[f"{stage.name}/state"] = state
        found[f"{stage.name}/metrics.csv"] = (stage / "metrics.csv").read_text()
    for name, array in CheckpointStore(workdir / "stages" / "best").load()[0].items():
        found[f"best/{name}"] = _digest(array.tobytes())
    found |= {f"best.keras/{name}": value for name, value in saved_weights(workdir / "best.keras").items()}
    found["evaluation"] = json.loads((workdir / "evaluation" / "metrics.json").read_text())
    found["predictions"] = (workdir / "evaluation" / "predictions.csv").read_text()
    if (workdir / "twin").is_dir():
        found |= {f"twin/{name}": value for name, value in outcome(workdir / "twin").items()}
        found["verdict"] = json.loads((workdir / "evaluation" / "verdict.json").read_text())
    return found


def saved_weights(path: Path) -> dict[str, str]:
    """Returns digests of the variables in a `.keras` file."""
    import h5py

    found = {}
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:

        def note(name, item):
            if isinstance(item, h5py.Dataset):
                found[name] = _digest(item[()].tobytes())

        file.visititems(note)
    assert found
    return found


def differences(one: dict[str, object], other: dict[str, object]) -> list[str]:
    """Returns the names whose values differ, and those that only one of two outcomes has."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name, one) != other.get(name, other))


def check_books(workdir: Path, epochs: dict[str, int]) -> None:
    """Asserts that no epoch is missing or stands twice: in the ledger, in metrics.csv and in TensorBoard.

    Args:
        workdir: A finished run.
        epochs: Number of epochs by stage folder, e.g. `{"00_head": 2}`.
    """
    records = [json.loads(line) for line in (workdir / "ledger.jsonl").read_text().splitlines()]
    events = [(record["stage"], record["event"]) for record in records]
    assert events[-1] == ("run", "finished") and events.count(("run", "finished")) == 1, events
    steps = []
    for folder, count in epochs.items():
        name = folder.partition("_")[2]
        assert events.count((name, "completed")) == 1, events
        assert events.index((name, "started")) < events.index((name, "completed")), events
        rows = list(csv.DictReader(io.StringIO((workdir / "stages" / folder / "metrics.csv").read_text())))
        assert [int(row["epoch"]) for row in rows] == list(range(1, count + 1)), rows
        steps += [int(row["step"]) for row in rows]
    assert steps == sorted(set(steps))
    assert scalar_steps(workdir / "tensorboard", "epoch/loss") == steps


def scalar_steps(folder: Path, tag: str) -> list[int]:
    """Returns the steps of a scalar over all event files, as they stand there, in order of step."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    steps = []
    for path in sorted(folder.glob("events.*")):
        for record in RawEventFileLoader(str(path)).Load():
            event = Event.FromString(record)
            steps += [event.step for value in event.summary.value if value.tag == tag]
    return sorted(steps)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
