"""Checks for each family of backbones what tlkeras promises for every backbone, with tiny networks.

Command:  python benchmarks/families.py --results=FILE [--families=swin_tiny,...] [--claims=blocks,...]
          [--table]
Time:     about two minutes of CPU time per family.
Exit:     1 if a claim does not hold.

FILE gets one JSON line per family and claim. Lines that are in it are not measured again. `--table` prints
the table of docs/backbones.md from FILE. The claims are:

blocks    The blocks found are those of the paper, and they hold every layer once.
tail      The tail of a trunk, after the trunk, is the whole network.
last_two  A run with `last:2` moves these two blocks alone.
cached    Cached features lead to the same weights as none.
killed    A run that is killed with -9 and resumed ends like one without interruption, to the bit.
alone     The best.keras of that run opens in a process that has neither tlkeras nor safetensors.
heat      The heat maps of the report depend on the image.
exports   Each export gives the same answers.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "faults"), str(ROOT / "tests" / "models")]

from export_parity import measure, random_network, smooth_images  # noqa: E402, I001  first: see there

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from commands_process import CommandServer  # noqa: E402
from fault_words import settings, train  # noqa: E402
from kill_chain import run_with_kills  # noqa: E402
from random_tensors import random_pictures  # noqa: E402
from run_outcome import check_books, differences, outcome  # noqa: E402
from tiny_families import TINY, of_the_last_two, trained  # noqa: E402

from tlkeras.evaluation.explain import explain_images  # noqa: E402
from tlkeras.models import BACKBONES  # noqa: E402
from tlkeras.models.cuts.cut_points import find_blocks, split  # noqa: E402
from tlkeras.models.naming import reproducible  # noqa: E402
from tlkeras.models.weights.load import load_backbone  # noqa: E402

TINY["dinov2_small"] = TINY["dinov2_small_registers"]
SIDE = 32
FORMATS = ["saved_model", "onnx", "litert", "keras"]
# stage 1 trains the head on cached features, stage 2 two blocks on images with random changes
SMALL = ("data.batch_size=32", "stages.0.epochs=1", "stages.1.train=last:2", "checkpoint.every_steps=1")
OPENS = """
import sys; sys.modules.update(tlkeras=None, safetensors=None)
import keras, numpy as np
model = keras.models.load_model(sys.argv[1])
np.save(sys.argv[3], model(np.load(sys.argv[2])))
"""


def main() -> int:
    """Measures what is missing in the file of results, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--families", default=",".join(TINY))
    parser.add_argument("--claims", default=",".join(CLAIMS))
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    known = (
        [json.loads(line) for line in asked.results.read_text().splitlines()]
        if asked.results.exists()
        else []
    )
    if asked.table:
        print(table(known))
        return 0
    done = {(row["family"], row["claim"]) for row in known}
    for name in asked.families.split(","):
        missing = [claim for claim in asked.claims.split(",") if (name, claim) not in done]
        with tempfile.TemporaryDirectory(prefix="families_") as folder:
            for claim in missing:
                began = time.process_time()
                row = {"family": name, "claim": claim, **CLAIMS[claim](name, Path(folder))}
                row["cpu_seconds"] = round(time.process_time() - began, 1)
                known.append(row)
                with asked.results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)
                keras.backend.clear_session()
    return int(not all(row["holds"] for row in known))


def blocks(name: str, folder: Path) -> dict:
    """Compares the names of the blocks with those of the paper, and the layers in them with all layers."""
    model = _backbone(name)
    found = find_blocks(model, BACKBONES.get(name).family)
    layers = sorted(layer.name for block in found for layer in block.layers)
    names = [block.name for block in found]
    complete = layers == sorted(layer.name for layer in model.layers)
    return {"holds": names == TINY[name][1].split() and complete, "found": names}


def tail(name: str, folder: Path) -> dict:
    """Compares the tail of the trunk with the whole network at each cut."""
    model, x = _backbone(name), random_pictures(4, SIDE)
    whole, worst = np.asarray(model(x)), 0.0
    for block in find_blocks(model, BACKBONES.get(name).family)[:-1]:
        first, rest = split(model, block.cut)
        worst = max(worst, float(np.abs(np.asarray(rest(first(x))) - whole).max()))
    return {"holds": worst <= 1e-5 * float(whole.std()), "difference": worst}


def last_two(name: str, folder: Path) -> dict:
    """Trains `last:2` and compares the layers that moved with those of these blocks."""
    before, after = trained(name, folder / "last_two", True)
    moved = {layer for layer in after if any(map(np.any, map(np.subtract, before[layer], after[layer])))}
    return {"holds": moved == of_the_last_two(name, after), "moved": len(moved), "layers": len(after)}


def cached(name: str, folder: Path) -> dict:
    """Compares the weights after training with and without cached features.

    If they differ, it compares them again without the arithmetic optimization of graphs (docs/backbones.md).
    """
    difference = _between_cached_and_not(name, folder / "cached")
    if not difference:
        return {"holds": True, "difference": 0.0}
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    try:
        plain = _between_cached_and_not(name, folder / "without_optimization")
    finally:
        tf.config.optimizer.set_experimental_options({"arithmetic_optimization": True})
    return {"holds": difference < 1e-5 and not plain, "difference": difference, "without_optimization": plain}


def _between_cached_and_not(name: str, folder: Path) -> float:
    one, other = (trained(name, folder / str(cached), cached)[1] for cached in (True, False))
    pairs = [(a, b) for layer in one for a, b in zip(one[layer], other[layer], strict=True)]
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def killed(name: str, folder: Path) -> dict:
    """Kills a run with -9 and resumes it, and compares everything with the run without interruption."""
    server = CommandServer(folder, {"TF_ENABLE_ONEDNN_OPTS": "0"})
    network = [f"model.backbone={name}", f"model.backbone_options={json.dumps(TINY[name][0])}", *SMALL]
    command = lambda place: train(place, *settings(*network))  # noqa: E731
    try:
        began = time.monotonic()
        ended = server.run(*command(folder / "alone"))
        if ended.code:
            return {"holds": False, "error": ended.error}
        seconds, rng = time.monotonic() - began, random.Random(name)
        chain = run_with_kills(
            server, command(folder / "killed"), folder / "killed", 3, rng, events=60, seconds=seconds
        )
    finally:
        server.close()
    if chain.code:
        return {"holds": False, "error": chain.output[-500:]}
    different = differences(outcome(folder / "alone" / "run"), outcome(folder / "killed" / "run"))
    check_books(folder / "killed" / "run", {"00_head": 1, "01_all": 2})
    held = not different and bool(chain.moments)
    return {"holds": held, "kills": len(chain.moments), "moments": chain.moments, "different": different[:5]}


def alone(name: str, folder: Path) -> dict:
    """Opens the best.keras of a run in a process that has neither tlkeras nor safetensors."""
    model, x = random_network(name, SIDE, smooth_images(4, SIDE), TINY[name][0]), smooth_images(4, SIDE)
    file = folder / "killed" / "run" / "best.keras"
    if file.exists():
        model = keras.models.load_model(file)
    else:
        file = folder / "best.keras"
        model.save(file)
    np.save(folder / "x.npy", x)
    words = [sys.executable, "-c", OPENS, file, folder / "x.npy", folder / "y.npy"]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode:
        return {"holds": False, "error": done.stderr[-500:]}
    difference = float(np.abs(np.load(folder / "y.npy") - np.asarray(model(x))).max())
    return {"holds": difference < 1e-5, "difference": difference}


def heat(name: str, folder: Path) -> dict:
    """Makes the heat maps of the report, and asks whether they differ from image to image."""
    images = smooth_images(8, SIDE)
    maps, method = explain_images(random_network(name, SIDE, images, TINY[name][0]), images, backbone=name)
    shown = int((maps.max(axis=(1, 2)) > 0).sum())
    alike = float(np.corrcoef(maps.reshape(len(maps), -1)).mean()) if shown == len(maps) else 0.0
    return {"holds": shown > 0 and alike < 0.999, "method": method, "shown": shown, "of": len(maps)}


def exports(name: str, folder: Path) -> dict:
    """Compares the answers of each export with those of the network."""
    found = measure(name, SIDE, FORMATS, rows=8, **TINY[name][0])
    relative = {format_: float(parity.relative) for format_, parity in found.items()}
    agree = all(parity.agreement == 1 for parity in found.values())
    return {"holds": agree and max(relative.values()) < 1e-3, "relative": relative}


CLAIMS: Mapping[str, Callable[[str, Path], dict]] = {
    claim.__name__: claim for claim in (blocks, tail, last_two, cached, killed, alone, heat, exports)
}


def _backbone(name: str) -> keras.Model:
    with reproducible(0, "backbone"):
        return load_backbone(BACKBONES.get(name), None, (SIDE, SIDE, 3), TINY[name][0])[0]


def table(rows: list[dict]) -> str:
    """Returns the table of the page, one row per family."""
    cells = {(row["family"], row["claim"]): _cell(row) for row in rows}
    families = [name for name in TINY if any(row["family"] == name for row in rows)]
    lines = ["| tiny network | " + " | ".join(CLAIMS) + " |", "|---" * (len(CLAIMS) + 1) + "|"]
    lines += [
        f"| `{n}` | " + " | ".join(cells.get((n, c), "not measured") for c in CLAIMS) + " |" for n in families
    ]
    return "\n".join(lines)


def _cell(row: dict) -> str:
    if not row["holds"]:
        return "**no**"
    match row["claim"]:
        case "blocks":
            return str(len(row["found"]))
        case "last_two":
            return f"{row['moved']} of {row['layers']} layers"
        case "killed":
            return f"equal ({row['kills']})"
        case "heat":
            return f"{row['method']}, {row['shown']} of {row['of']}"
        case "exports":
            return f"{max(row['relative'].values()):.0e}"
    return "equal" if not row["difference"] else f"{row['difference']:.0e}"


if __name__ == "__main__":
    sys.exit(main())
