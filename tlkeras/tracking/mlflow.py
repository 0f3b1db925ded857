"""MLflow as a tracker."""

import contextlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tlkeras.lazy import LateModule
from tlkeras.tracking.trackers import Facts, Tracker

# The client neither counts its users nor lets a training wait for a server that is gone. What a user has set
# stays as it is.
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_TAG = "tlkeras.run"  # holds the identifier of the run, by which a resumed run is found
_BATCH = 100  # parameters in one request
_LONGEST = 6000  # characters of a parameter

mlflow = LateModule("mlflow")


class MLflow(Tracker):
    """A run on an MLflow server, or in the database of MLflow's own default.

    Args:
        facts: Facts about the run.
        uri: Address of the server, e.g. `http://HOST:5000`. None uses `MLFLOW_TRACKING_URI`, or what MLflow
            uses without it.
        experiment: Name of MLflow's experiment, or None for the name of the tlkeras experiment.
    """

    def __init__(self, facts: Facts, uri: str | None = None, experiment: str | None = None):
        self.facts = facts
        self.uri = uri
        self.experiment = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or facts.name

    def begin(self) -> Iterable[int]:
        with _settings():
            self._client = mlflow.MlflowClient(tracking_uri=self.uri)
            experiment = self._experiment_id()
            wanted = f"tags.`{_TAG}` = '{self.facts.id}'"
            found = self._client.search_runs([experiment], wanted, max_results=1)
            if found:
                self._run = found[0]
                self._client.update_run(self._run.info.run_id, status="RUNNING")
            else:
                tags = {_TAG: self.facts.id}
                self._run = self._client.create_run(experiment, tags=tags, run_name=self.facts.name)
            self._log_parameters()
            return [m.step for m in self._client.get_metric_history(self._run.info.run_id, "epoch")]

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        entries = [mlflow.entities.Metric(_key(k), v, now, step) for k, v in metrics.items()]
        with _settings():
            self._client.log_batch(self._run.info.run_id, metrics=entries)

    def finish(self, metrics: Mapping[str, float], tags: Mapping[str, str], files: Sequence[Path]) -> None:
        run_id = self._run.info.run_id
        with _settings():
            there = self._client.get_run(run_id).data.metrics
            now = int(time.time() * 1000)
            new = {_key(name): value for name, value in metrics.items() if _key(name) not in there}
            entries = [mlflow.entities.Metric(name, value, now, 0) for name, value in new.items()]
            named = [mlflow.entities.RunTag(name, value) for name, value in tags.items()]
            self._client.log_batch(run_id, metrics=entries, tags=named)
            for path in files:
                folder = path.relative_to(self.facts.folder).parent
                self._client.log_artifact(run_id, str(path), None if folder == Path() else str(folder))

    def close(self, status: str) -> None:
        with _settings():
            self._client.set_terminated(self._run.info.run_id, status)

    @property
    def place(self) -> str:
        info = self._run.info
        with _settings():
            uri = self._client.tracking_uri
        where = (
            f"{uri}/#/experiments/{info.experiment_id}/runs/" if uri.startswith("http") else f"{uri}, run "
        )
        return f"{where}{info.run_id}"

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                return self._client.create_experiment(self.experiment)
            except mlflow.exceptions.MlflowException:  # another process may have created it meanwhile
                found = self._client.get_experiment_by_name(self.experiment)
                if found is None:
                    raise
        return found.experiment_id

    def _log_parameters(self) -> None:
        """Logs the parameters that the run does not have yet. MLflow refuses to change a parameter."""
        there = self._run.data.params
        new = [
            mlflow.entities.Param(_key(name), _text(value)[:_LONGEST])
            for name, value in self.facts.parameters.items()
            if _key(name) not in there
        ]
        for start in range(0, len(new), _BATCH):
            self._client.log_batch(self._run.info.run_id, params=new[start : start + _BATCH])


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    """Context in which the client has the settings above."""
    added = {name: value for name, value in _SETTINGS.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _key(name: str) -> str:
    """Returns a name of the letters that MLflow takes."""
    return re.sub(r"[^\w\-. /]", "_", name)[:250]


def _text(value: str | int | float | bool) -> str:
    return value if isinstance(value, str) else json.dumps(value)
