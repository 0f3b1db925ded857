"""Compares the DANN that the tutorial writes in plain Keras with `tlkeras train` on the same moons.

`python benchmarks/dann_by_hand.py` trains both for 3000 steps on the same training rows, with seeds 0 to 9.
It prints the accuracy on the test rows of the target. Neither sees a target label.
"""

import json
import tempfile
from pathlib import Path
from statistics import median

from tlkeras import load_config, run_experiment
from tlkeras.data import load_domain

NOTEBOOK = Path(__file__).parents[1] / "docs/tutorials/dann_in_plain_keras.ipynb"
SEEDS, STEPS, BATCH = range(10), 3000, 60


def by_hand():
    """Returns the function `dann` of the tutorial."""
    names: dict = {}
    for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"]:
        if "dann" in cell["metadata"].get("tags", ()):
            exec("".join(cell["source"]), names)
    return names["dann"]


def accuracies(seed: int, dann) -> dict[str, float]:
    """Returns the accuracy on the target's test rows, by what trained."""
    config = load_config("moons_dann", [f"seed={seed}", "adaptation.twin=false"])
    source = load_domain(config.data, seed=seed).splits
    target = load_domain(config.adaptation.target, seed=seed).splits
    x, y = source["train"].inputs, source["train"].labels
    epochs = STEPS * BATCH // (len(x) + len(target["train"]))
    found = {}
    for name, strength in (("source only, by hand", 0.0), ("DANN, by hand", 6.0)):
        model = dann(x, y, target["train"].inputs, epochs, seed=seed, strength=strength)
        predicted = model.predict(target["test"].inputs, verbose=0).argmax(axis=1)
        found[name] = float((predicted == target["test"].labels).mean())
    with tempfile.TemporaryDirectory() as folder:
        metrics = run_experiment(config, folder).metrics
    found["DANN, `tlkeras train`"] = metrics["target"]["test"]["accuracy"]
    return found


def main() -> None:
    """Prints the table."""
    dann = by_hand()
    rows = []
    for seed in SEEDS:
        rows.append(accuracies(seed, dann))
        print(seed, rows[-1], flush=True)
    names = [*(f"seed {seed}" for seed in SEEDS), "median of 0 to 4", "median"]
    print(f"| | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for name in rows[0]:
        values = [row[name] for row in rows]
        shown = " | ".join(f"{value:.3f}" for value in (*values, median(values[:5]), median(values)))
        print(f"| {name} | {shown.replace('0.', '.')} |")


if __name__ == "__main__":
    main()
