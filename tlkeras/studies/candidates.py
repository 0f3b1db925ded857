"""The candidates of a ranking: backbones with weights and earlier runs, by name or wildcard."""

import glob
from dataclasses import dataclass
from pathlib import Path

from tlkeras.config import ExperimentConfig
from tlkeras.errors import UserError, nearest
from tlkeras.models import BACKBONES
from tlkeras.models.weights.checkpoints import checkpoint_in
from tlkeras.models.weights.files import require_weights, weights_at_hand
from tlkeras.run_dir import RunDir

RUN = "run"
_WILDCARDS = set("*?[")


@dataclass(frozen=True)
class Candidate:
    """A possible starting point for transfer.

    Attributes:
        name: Name of a backbone, or directory of a run.
        weights: `imagenet`, a file, or a run directory. None means random weights. For a run it is `run`.
    """

    name: str
    weights: str | None

    @property
    def is_run(self) -> bool:
        """Whether the candidate is a whole earlier run."""
        return self.weights == RUN

    @property
    def title(self) -> str:
        """The candidate as a user would write it."""
        return self.name if self.is_run else f"{self.name}:{self.weights or 'none'}"


def parse_candidates(text: str, config: ExperimentConfig) -> list[Candidate]:
    """Returns the candidates of a text `NAME[:WEIGHTS],...`, each once.

    A NAME is a backbone, a run directory, or a wildcard for one of them. Without WEIGHTS a backbone takes
    ImageNet weights, or random weights if it has none. WEIGHTS `none` selects random weights. A wildcard
    skips backbones that take another kind of input or whose weights are not available.

    Args:
        text: Value of `--candidates`.
        config: Config of the target task.

    Raises:
        UserError: Nothing matches a name or wildcard, or weights do not exist or are not available.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    found = [candidate for word in words for candidate in _candidates(word, config)]
    found = list(dict.fromkeys(found))
    if not found:
        raise UserError(f"--candidates names nothing. Received: --candidates={text!r}")
    return found


def _candidates(word: str, config: ExperimentConfig) -> list[Candidate]:
    name, colon, weights = word.partition(":")
    if not colon and (runs := _runs(name)):
        return [Candidate(str(run), RUN) for run in runs]
    names = BACKBONES.names(name)
    if not names:
        kind = "run directory or backbone" if "/" in name else "backbone"
        raise UserError(
            f"No {kind} matches {name!r}.{nearest(name, BACKBONES.names())} Allowed: names and wildcards of "
            f"'tlkeras list backbones', and directories of finished runs. Received: --candidates={word}"
        )
    _check_weights(weights, word)
    wild = bool(_WILDCARDS & set(name))
    chosen = [Candidate(n, _weights(n, weights)) for n in names]
    chosen = [c for c in chosen if not wild or _fits(c, config)]
    if not chosen:
        raise UserError(
            f"No backbone that matches {name!r} has weights available. Received: --candidates={word}"
        )
    for candidate in chosen:
        if candidate.weights == "imagenet" and not wild:
            row = BACKBONES.get(candidate.name)
            require_weights(row, row.input_shape(config.data), {})
    return chosen


def _runs(pattern: str) -> list[Path]:
    """Returns the finished runs that match a path or a wildcard for paths."""
    if "/" not in pattern and not Path(pattern).is_dir():
        return []
    paths = [Path(p) for p in sorted(glob.glob(str(Path(pattern).expanduser())))]
    runs = [p for p in paths if (p / "config.json").is_file() and RunDir(p).best_model.is_file()]
    if paths and not runs:
        raise UserError(f"{paths[0]} holds no finished run. Received: --candidates={pattern}")
    return runs


def _weights(name: str, weights: str) -> str | None:
    if weights == "":
        row = BACKBONES.get(name)
        return "imagenet" if row.is_application or row.weights_package else None
    return {"none": None, "imagenet": "imagenet"}.get(weights.lower(), weights)


def _check_weights(weights: str, word: str) -> None:
    """Raises `UserError` unless the weights are none, a known name, a weights file or a run directory."""
    path = Path(weights).expanduser()
    if weights.lower() in ("", "none", "imagenet") or RunDir(path).best_model.is_file():
        return
    if path.is_file() and path.name.endswith((".weights.h5", ".keras")):
        return
    if weights.startswith("hf://") or ((file := checkpoint_in(path)) is not None and file.is_file()):
        return
    what = "hold no weights" if path.exists() else "do not exist"
    raise UserError(
        f"The weights {weights!r} {what}.{nearest(weights.lower(), ('imagenet', 'none'))} Allowed: imagenet, "
        "none, a .weights.h5 or .keras file, a checkpoint of timm or transformers, hf://ORG/NAME, the "
        f"directory of a finished run. Received: --candidates={word}"
    )


def _fits(candidate: Candidate, config: ExperimentConfig) -> bool:
    row = BACKBONES.get(candidate.name)
    if BACKBONES.get(config.model.backbone).modalities[0] not in row.modalities:
        return False
    return candidate.weights != "imagenet" or weights_at_hand(row, row.input_shape(config.data))
