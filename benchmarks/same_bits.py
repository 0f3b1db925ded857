"""Checks whether two checkouts train to the same weights, to the bit. Prints a line per case of
`same_bits_cases.py`.

Command:  python benchmarks/same_bits.py --old=DIR --new=DIR [--only=GROUP ...] [--case='dann*' ...]
          [--keep=DIR]
Time:     about ten minutes per checkout on two CPU cores.
Exit:     1 if a case differs or fails in one of the checkouts.

Each group of cases is one process of the checkout's own `.venv/bin/python`. It uses only public names:
`load_config`, `run_experiment`, `load_model`. The script compares all variables of each best.keras that a run
wrote, by name and order. Two more columns show how many arrays of the last checkpoints (including optimizer
and critic) have no equal on the other side, under any name, and whether evaluation/metrics.json is the same.
With `--keep`, the runs of the old checkout stay in a folder and are not trained again. Use a separate folder
for each old checkout.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from measuring import run_in
from same_bits_cases import GROUPS

# fields of the cases by their path, and what a checkout calls them whose config knows the new name
RENAMED = {
    "stages.*.steps_per_call": "steps_per_execution",
    "tasks.stages.*.steps_per_call": "steps_per_execution",
    "verdict.baselines": "twins",
}


def main() -> int:
    """Trains in both checkouts, group by group, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", type=Path, required=True)
    parser.add_argument("--new", type=Path, required=True)
    parser.add_argument("--only", action="append", choices=list(GROUPS), help="a group; may be repeated")
    parser.add_argument("--case", action="append", help="wildcard on the names of cases; may be repeated")
    parser.add_argument("--keep", type=Path, help="folder in which the old checkout's runs are kept")
    asked = parser.parse_args()
    equal = Counter()
    with tempfile.TemporaryDirectory(prefix="same_bits_") as folder:
        for group in asked.only or GROUPS:
            if not (cases := chosen(group, asked.case or ["*"])):
                continue
            print(f"\n{group}: {len(cases)} cases", end="", flush=True)
            sides = {
                "old": trained(asked.old, (asked.keep or Path(folder)) / "old", group, cases),
                "new": trained(asked.new, Path(folder, "new"), group, cases),
            }
            print()
            for case in cases:
                line = compared(*(place / slug(case) for place in sides.values()))
                equal[line.startswith("equal")] += 1
                print(f"  {case:42} {line}", flush=True)
    print(f"\n{equal[True]} cases equal, {equal[False]} not")
    return 1 if equal[False] else 0


def chosen(group: str, wildcards: list[str]) -> list[str]:
    """Returns the names of the selected cases, and of the cases from whose runs they start."""
    cases = GROUPS[group]
    names = [name for name in cases if any(fnmatch(name, wildcard) for wildcard in wildcards)]
    text = json.dumps([cases[name] for name in names])
    return [name for name in cases if name in names or f"{{run:{name}}}" in text]


def trained(checkout: Path, folder: Path, group: str, cases: list[str]) -> Path:
    """Trains the cases of a group that are not in a folder yet. Returns the folder of the group in it."""
    place = (folder / slug(group)).resolve()
    missing = [case for case in cases if not (place / slug(case) / "variables.npz").is_file()]
    if missing:
        began = time.monotonic()
        run_in(checkout, __file__, "--train", json.dumps([group, missing, str(place)]))
        print(f", {time.monotonic() - began:.0f} s {folder.name}", end="", flush=True)
    return place


def slug(name: str) -> str:
    """Returns a name as the name of a folder."""
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def compared(old: Path, new: Path) -> str:
    """Returns the line of the table for a case from the results of both sides."""
    failed = [f"{place.parents[1].name}: {(place / 'error').read_text()}" for place in (old, new)
              if (place / "error").is_file()]  # fmt: skip
    if failed:
        return "FAILED " + "; ".join(failed)
    weights = "equal" if not (found := different(old, new)) else f"DIFFERENT {found}"
    before, after = checkpoint_arrays(old), checkpoint_arrays(new)
    lost = (before - after).total()
    metrics = [json.loads((place / "run/evaluation/metrics.json").read_text()) for place in (old, new)]
    said = "same metrics" if metrics[0] == metrics[1] else "OTHER METRICS"
    return f"{weights:12} {lost:3d} of {before.total():3d} checkpoint arrays differ  {said}"


def different(old: Path, new: Path) -> str:
    """Returns the difference between the variables of all best.keras. It is empty if they are equal to the
    bit.
    """
    one, other = (dict(np.load(place / "variables.npz")) for place in (old, new))
    if list(one) != list(other):
        missing = [name for name in one if name not in other] + [name for name in other if name not in one]
        return f"in names: {', '.join(missing[:3]) or 'their order'}"
    if wrong := [name for name in one if one[name].shape != other[name].shape]:
        return f"in the shape of {wrong[0]}"
    apart = {
        name: np.abs(one[name].astype("float64") - other[name].astype("float64")).max(initial=0)
        for name in one
        if one[name].tobytes() != other[name].tobytes()
    }
    if not apart:
        return ""
    furthest = max(apart, key=apart.get)
    return f"by up to {apart[furthest]:.1e} ({furthest}; {len(apart)} of {len(one)} variables)"


def checkpoint_arrays(place: Path) -> Counter:
    """Counts the arrays, as bytes, in the newest checkpoint of each folder of a run (safetensors files)."""
    newest = {path.parent: path for path in sorted((place / "run").rglob("*.safetensors"))}
    found = Counter()
    for path in newest.values():
        content = path.read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")
        for name, entry in json.loads(content[8:start]).items():
            if name != "__metadata__":
                first, end = entry["data_offsets"]
                found[entry["dtype"], content[start + first : start + end]] += 1
    return found


def train(group: str, names: list[str], folder: str) -> None:
    """Trains cases here. Writes a folder per case with the run and its variables, or the error."""
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # oneDNN shares its state between logical CPUs
    import keras

    runs = {name: Path(folder, slug(name), "run") for name in GROUPS[group]}
    for name in names:
        place = runs[name].parent
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        keras.utils.clear_session()
        try:
            train_case(GROUPS[group][name], place, runs)
        except Exception as error:  # the other cases continue
            traceback.print_exc()
            (place / "error").write_text(f"{type(error).__name__}: {str(error).splitlines()[0]}")


def train_case(tree: dict, place: Path, runs: dict[str, Path]) -> None:
    """Trains one config and saves the variables of all its best.keras."""
    from tlkeras import ExperimentConfig, load_config, load_model, run_experiment

    known = field_names(ExperimentConfig.model_json_schema())
    text = json.dumps(renamed(tree, known) | {"cache": {"dir": str(place / "cache"), "extractor": "exact"}})
    for name, path in runs.items():
        text = text.replace(f"{{run:{name}}}", str(path))
    (place / "config.json").write_text(text)
    run_experiment(load_config(str(place / "config.json")), place / "run")
    found = {}
    for file in sorted((place / "run").rglob("best.keras")):
        where = file.parent.relative_to(place / "run").as_posix()
        variables = load_model(file).variables
        found |= {f"{where}/{i:03d} {v.path}": np.asarray(v) for i, v in enumerate(variables)}
    np.savez(place / "variables.npz", **found)


def field_names(schema: dict) -> set[str]:
    """Returns the names of all fields that a config can have."""
    return {name for part in (schema, *schema["$defs"].values()) for name in part.get("properties", {})}


def renamed(tree, known: set[str], path: str = ""):
    """Returns the tree of a config with the field names of this checkout."""
    if isinstance(tree, list):
        return [renamed(item, known, f"{path}{i}.") for i, item in enumerate(tree)]
    if not isinstance(tree, dict):
        return tree
    found = {}
    for key, value in tree.items():
        new = next((new for old, new in RENAMED.items() if fnmatch(path + key, old) and new in known), key)
        found[new] = renamed(value, known, f"{path}{key}.")
    return found


if __name__ == "__main__":
    sys.exit(train(*json.loads(sys.argv[2])) if sys.argv[1:2] == ["--train"] else main())
