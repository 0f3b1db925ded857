"""The registry of trackers, and what a tracker is."""

import importlib.util
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tlkeras.config import TrackerConfig
from tlkeras.errors import UserError, install, unknown
from tlkeras.registry import Registry, function_at


@dataclass(frozen=True)
class Facts:
    """What a tracker is told about a run before its first epoch.

    Attributes:
        id: Identifier of the run, of eight letters and digits. It stays the same when the run is resumed.
        name: Name of the experiment.
        folder: Run directory.
        parameters: Fields of the config by their dotted paths.
    """

    id: str
    name: str
    folder: Path
    parameters: Mapping[str, str | int | float | bool]


class Tracker(ABC):
    """A connection to a service that shows runs.

    The constructor of a subclass takes `Facts` and the options of the tracker as keyword arguments, and
    contacts nothing. A method that fails may raise any `Exception`.
    """

    @abstractmethod
    def begin(self) -> Iterable[int]:
        """Opens the run at the service, or opens it again. Returns the steps that the service has already."""

    @abstractmethod
    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Reports the metrics of an epoch.

        Args:
            step: Number of optimizer steps since the start of the run.
            metrics: Values by name, with `epoch`, `learning_rate` and `stage` (from 0).
        """

    @abstractmethod
    def finish(self, metrics: Mapping[str, float], tags: Mapping[str, str], files: Sequence[Path]) -> None:
        """Reports the results of the run. It may be called again if the process was killed meanwhile.

        Args:
            metrics: Final metrics, such as `source/test/accuracy`.
            tags: Short texts, such as the verdict.
            files: Files of the run directory that belong to the result.
        """

    @abstractmethod
    def close(self, status: str) -> None:
        """Ends the connection.

        Args:
            status: `FINISHED`, `FAILED`, or `KILLED` if a signal ended the run.
        """

    @property
    @abstractmethod
    def place(self) -> str:
        """Where the run can be seen, in words that follow the name of the tracker."""


@dataclass(frozen=True)
class TrackerKind:
    """A tracker that a config can name.

    Attributes:
        summary: Description in one line.
        make: Class of the tracker, or its place as `module:class`.
        package: Package that must be installed, or None.
        extra: Extra of tlkeras that installs the package, or None.
    """

    summary: str
    make: str | Callable[..., Tracker]
    package: str | None = None
    extra: str | None = None


TRACKERS: Registry[TrackerKind] = Registry("tracker")
"""Trackers that `tracking` can name."""

TRACKERS.add(
    "mlflow",
    TrackerKind("MLflow, on its server or in a file.", "tlkeras.tracking.mlflow:MLflow", "mlflow", "mlflow"),
)
TRACKERS.add(
    "wandb",
    TrackerKind(
        "Weights & Biases, offline: files that `wandb sync` uploads.",
        "tlkeras.tracking.wandb:WandB",
        "wandb",
        "wandb",
    ),
)


def check_trackers(trackers: Iterable[TrackerConfig]) -> None:
    """Raises `UserError` if a tracker is unknown, not installed, or has no such option."""
    for given in trackers:
        kind = TRACKERS.get(given.name)
        if kind.package is not None and importlib.util.find_spec(kind.package) is None:
            how = f": {install(kind.extra)}" if kind.extra else ""
            raise UserError(
                f"The tracker {given.name} needs the package {kind.package}{how}. "
                f"Received: tracking={given.name}"
            )
        for option in given.options:
            if option not in options_of(kind):
                raise unknown(f"option of the tracker {given.name}", option, options_of(kind))


def options_of(kind: TrackerKind) -> list[str]:
    """Returns the names of the options of a tracker."""
    return list(inspect.signature(function_at(kind.make)).parameters)[1:]
