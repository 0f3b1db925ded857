"""A finished run with the usual next steps: predict, inspect, explain, report, export."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkeras import evaluation, export, report
from tlkeras.errors import UserError, unknown
from tlkeras.evaluation.intervals import score_line
from tlkeras.evaluation.judged_runs import verdict_texts
from tlkeras.runs import saved_run

if TYPE_CHECKING:
    import pandas

_EXPLANATIONS = {
    "grad_cam": "explain",
    "integrated_gradients": "explain",
    "occlusion": "explain",
    "attention_rollout": "attention_maps",
    "attention_relevance": "attention_maps",
}


class FinishedRun(saved_run.SavedRun):
    """A finished run, as `run_experiment`, `fine_tune` and `load_run` return it.

    A notebook shows its numbers with intervals, the verdict, curves and the worst mistakes.

    Example:
        >>> run = load_run("runs/mine")
        >>> run.predict_files("NEW_PICTURES")
        >>> run.history
        >>> run.export("onnx")
    """

    @property
    def verdict(self) -> dict[str, Any] | None:
        """The verdict: `verdict`, `gain`, `interval`, `sentence` and more. None if no twin was trained."""
        file = self.run_dir.evaluation / "verdict.json"
        return self.run_dir.read_json(file) if file.is_file() else None

    @property
    def history(self) -> "pandas.DataFrame":
        """The metrics of each epoch as a DataFrame, with one row per epoch and the column `stage`. It needs
        pandas.

        Raises:
            UserError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise UserError(
                "history needs the package pandas: pip install pandas. Received: it is not installed"
            ) from None
        stages = report.read_run(self.path).stages
        return pandas.DataFrame([{"stage": stage.name} | row for stage in stages for row in stage.epochs])

    def report(self) -> Path:
        """Writes the report page again.

        Returns:
            Path of the page, `report.html` in the run directory.
        """
        return report.write_report(self.path)

    def export(self, *formats: str) -> dict[str, Any]:
        """Exports the model; see `tlkeras.export.export_run`.

        Args:
            *formats: Names of formats, by default `saved_model`.

        Returns:
            Comparison of each export with `predict`, a `Parity` by the name of the format.

        Raises:
            UserError: A format is unknown, a package is missing, or the data cannot be read.
            ExportRefused: The answers of a format differ from those of `predict`.
        """
        return export.export_run(self, formats or ("saved_model",))

    def explain(
        self, images: np.ndarray, method: str = "grad_cam", targets: np.ndarray | None = None
    ) -> np.ndarray:
        """Returns maps of the pixels that matter for a prediction.

        Args:
            images: Images `(n, height, width, 3)`, float or integers in 0..255, in the size of the model.
                `integrated_gradients` also takes vectors `(n, d)`.
            method: Method: `grad_cam`, `integrated_gradients` or `occlusion`; see
                `tlkeras.evaluation.explain`. For vision transformers also `attention_rollout` or
                `attention_relevance`; see `tlkeras.evaluation.attention_maps`.
            targets: Class numbers `(n,)` to explain, or None for the predicted classes.

        Returns:
            Maps float32 `(n, height, width)`, in 0..1 or for `occlusion` in -1..1. For `integrated_gradients`
            attributions of either sign in the shape of `images`, of which
            `tlkeras.evaluation.explain.heat_of` makes maps.

        Raises:
            UserError: The method is unknown or does not fit the network, the model does not take images, or
                they have another size.
        """
        if method not in _EXPLANATIONS:
            raise unknown("explanation", method, _EXPLANATIONS)
        x, kind = np.asarray(images, np.float32), self.modality.name
        explained = kind == "image" or (kind == "vector" and method == "integrated_gradients")
        if not explained or x.shape[1:] != self.input_shape:
            raise UserError(
                f"{method} explains images (n, height, width, 3) in the size of the model. Received: an "
                f"array of shape {x.shape} for a model of {self.modality.plural} {self.input_shape}"
            )
        module = getattr(evaluation, _EXPLANATIONS[method])
        return getattr(module, method)(self.model, x, targets)

    def __repr__(self) -> str:
        scores = [
            score_line(domain, split, values, self.config.judged_by)
            for domain, splits in self.metrics.items()
            for split, values in splits.items()
        ]
        missing = "there is no verdict, because no run without the transfer was trained"
        found = [missing] if self.verdict is None else verdict_texts(self.verdict)
        return "\n".join([f"run in {self.path}", "; ".join(scores), *found])

    def _repr_html_(self) -> str:
        return report.notebook.notebook_view(self.path)


def load_run(path: str | os.PathLike) -> FinishedRun:
    """Opens the run in a directory that `tlkeras train` wrote.

    Args:
        path: Path of the directory, or `hf://USER/NAME` for a run that `tlkeras push` published.

    Returns:
        The finished run.

    Raises:
        UserError: The path is not a run directory, the run has no model yet, or there is no such run on the
            Hub.
    """
    return FinishedRun(saved_run.load_run(path).run_dir)
