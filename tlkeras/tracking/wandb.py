"""Weights & Biases as a tracker, offline."""

import contextlib
import io
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tlkeras.lazy import LateModule
from tlkeras.tracking.trackers import Facts, Tracker

wandb = LateModule("wandb")


class WandB(Tracker):
    """An offline run of Weights & Biases in the folder `wandb/` of the run directory.

    Nothing is sent. `wandb sync RUN/wandb/offline-run-*` uploads the run when you want it. An offline run
    cannot be continued, so a resumed run writes all its epochs into a new one, which replaces the old one.

    Args:
        facts: Facts about the run.
        project: Name of the project, or None for the name of the experiment.
        entity: User or team that the project belongs to, or None for the default of the account.
    """

    def __init__(self, facts: Facts, project: str | None = None, entity: str | None = None):
        self.facts = facts
        self.project = project or os.environ.get("WANDB_PROJECT") or facts.name
        self.entity = entity

    def begin(self) -> Iterable[int]:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when wandb is imported
        for old in (self.facts.folder / "wandb").glob(f"offline-run-*-{self.facts.id}"):
            shutil.rmtree(old)
        settings = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, save_code=False,
            x_disable_stats=True, x_disable_machine_info=True, x_save_requirements=False,
        )  # fmt: skip
        self._run = wandb.init(
            id=self.facts.id, name=self.facts.name, project=self.project, entity=self.entity,
            dir=self.facts.folder, config=dict(self.facts.parameters), mode="offline",
            reinit="create_new",  # a run of the caller stays as it is
            settings=settings,
        )  # fmt: skip
        return ()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step, commit=True)

    def finish(self, metrics: Mapping[str, float], tags: Mapping[str, str], files: Sequence[Path]) -> None:
        self._run.summary.update({**metrics, **tags})
        self._run.tags = tuple(f"{name}: {value}"[:64] for name, value in tags.items())
        with contextlib.redirect_stderr(io.StringIO()):  # it says that the files are links
            for path in files:
                self._run.save(path.absolute(), base_path=self.facts.folder.absolute(), policy="now")

    def close(self, status: str) -> None:
        self._run.finish(exit_code=0 if status == "FINISHED" else 1)

    @property
    def place(self) -> str:
        return f"`wandb sync {self.facts.folder}/wandb/offline-run-*` uploads the run"
