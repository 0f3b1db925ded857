"""Writes the emoji as rows of a picture and a text, as people have them: the data of a measured accuracy.

Command:  python benchmarks/emoji_rows.py FOLDER
          tlkeras train --config=csv_with_pictures_and_text --set data.source=csv:FOLDER/rows.csv
          --set model.beside.text.weights=MINILM --workdir=runs/both

The packages are those of the extra `quickstart`. The splits are those of the source `emoji:twemoji`.
"""

import csv
import shutil
import sys
from pathlib import Path

from tlkeras.config import DataConfig
from tlkeras.data.sources import read_source


def main(folder: Path) -> None:
    """Writes `rows.csv` with the columns picture, text, label and split, and the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    table = read_source(DataConfig(source="emoji:twemoji", picture="picture", text="name"), seed=0)
    lines = [("picture", "text", "label", "split")]
    for split, rows in table.splits.items():
        for (picture, text), label in zip(rows.inputs, rows.labels, strict=True):
            name = Path(picture).name
            shutil.copy(picture, folder / name)
            lines.append((name, text, label, split))
    with open(folder / "rows.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    print(f"{len(lines) - 1} rows")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
