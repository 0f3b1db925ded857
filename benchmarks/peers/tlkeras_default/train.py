"""tlkeras as a newcomer starts it: `tlkeras train --config=image_folder` with the default recipe.

Only the backbone and the size of the pictures are set, because they are the same for all peers. The run also
writes its evaluation and its report. Cached features of other runs are not used. `--choice=head` has only the
first stage of the recipe, a head on the frozen backbone.
"""

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from job import read_job, report

from tlkeras import load_config
from tlkeras.cli.main import entry
from tlkeras.models import BACKBONES
from tlkeras.models.weights.files import wheel_file
from tlkeras.run_dir import RunDir


def main() -> None:
    """Trains on a task and prints the test accuracy."""
    job = read_job(("default", "head"))
    used = wheel_file(BACKBONES.get("efficientnet_lite0"))[0]
    if used is None or used.read_bytes() != job.weights.read_bytes():
        sys.exit(f"tlkeras would use other weights than --weights: {used}")
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "data.source": f"folder:{job.folder}", "data.image_size": job.size, "seed": job.seed,
            "model.backbone": "efficientnet_lite0", "model.fallback": "none", "cache.dir": f"{folder}/cache",
        }  # fmt: skip
        if job.choice == "head":
            stages = load_config("image_folder").model_dump(mode="json")["stages"]
            settings["stages"] = json.dumps(stages[:1])
        words = [word for path, value in settings.items() for word in ("--set", f"{path}={value}")]
        sys.argv[1:] = ["--config=image_folder", *words, f"--workdir={folder}/run"]
        try:
            entry("train")
        except SystemExit as end:
            if end.code:
                raise
        run = RunDir(Path(folder) / "run")
        found = json.loads((run.path / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
        stages = [event for event in run.ledger.records() if event["event"] == "completed"]
    seconds = sum(event["extraction_seconds"] + event["training_seconds"] for event in stages)
    accuracy = found["source"]["test"]["accuracy"]
    peer = "tlkeras" if job.choice == "default" else "tlkeras, head alone"
    report(job, peer, accuracy, (seconds, stages[-1]["time"]), ("tlkeras", "keras", "tensorflow"))


if __name__ == "__main__":
    main()
