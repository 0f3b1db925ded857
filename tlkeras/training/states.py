"""Where a run's states lie: how each stage began, its checkpoints, and the best model."""

from tlkeras.errors import RunError
from tlkeras.run_dir import CheckpointStore, RunDir
from tlkeras.training import snapshots


class RunStates:
    """The states of one run on disk, put back into its model.

    A stage's `start` holds every variable of the model; its checkpoints, and the best model, hold only
    what the stage may move. So a frozen backbone is written once per stage, however often is saved.

    Args:
        run_dir: The run directory.
        model: The transfer model.
        stage_names: Names of all stages, in order.
        keep: How many checkpoints of a stage stay.
    """

    def __init__(self, run_dir: RunDir, model, stage_names: list[str], keep: int):
        self.run_dir = run_dir
        self.model = model
        self.stage_names = stage_names
        self.keep = keep

    @property
    def best(self) -> CheckpointStore:
        """The best model of the run."""
        return CheckpointStore(self.run_dir.path / "stages" / "best", keep=1)

    def start(self, index: int) -> CheckpointStore:
        """The state in which a stage begins."""
        return CheckpointStore(self.run_dir.stage(index, self.stage_names[index]) / "start", keep=1)

    def checkpoints(self, index: int) -> CheckpointStore:
        """The states within a stage."""
        return self.run_dir.checkpoints(index, self.stage_names[index], self.keep)

    def enter(self, index: int):
        """Keeps the state in which a stage begins, or goes back to it; returns its last checkpoint."""
        start = self.start(index).load()
        if start is None:
            self.start(index).save_arrays(snapshots.capture(self._named(), replicas=True), step=0)
            return None
        snapshots.restore(self._named(), start[0])
        return self.checkpoints(index).load()

    def load_start(self, index: int, *, replicas: bool = True) -> None:
        """Puts the model into the state in which a stage began; see `snapshots.restore` for `replicas`."""
        snapshots.restore(self._named(), self._whole(self.start(index), index)[0], replicas=replicas)

    def load_end(self, index: int) -> dict:
        """Puts the model into the state in which a completed stage ended; returns the run's best so far."""
        end = self._whole(self.checkpoints(index), index)
        self.load_start(index)
        named = self._named()
        moved = {k: v for k, v in end[0].items() if snapshots.base_name(k.removeprefix("model/")) in named}
        snapshots.restore(named, moved, "model/")
        return end[1]["best"]

    def load_best(self, best: dict) -> None:
        """Puts the best weights of the run into the model, the same on all replicas as in `best.keras`."""
        arrays = self._whole(self.best, best["stage"])[0]
        self.load_start(best["stage"], replicas=False)
        snapshots.restore(self._named(), arrays)

    def _named(self) -> dict:
        return snapshots.named_variables(self.model)

    def _whole(self, store: CheckpointStore, index: int):
        found = store.load()
        if found is None:
            raise RunError(
                f"A state of stage {self.stage_names[index]!r} is gone or broken in {store.directory}. "
                "Start over with --fresh."
            )
        return found
