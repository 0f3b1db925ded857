"""Models on the Hugging Face Hub (huggingface.co), named `hf://ORG/NAME`, by its own client and cache.

They are checkpoints of other libraries, or runs that `tlkeras push` has published.
"""

import re
from pathlib import Path

from tlkeras.errors import UserError, install
from tlkeras.models.weights.checkpoints import checkpoint_in

CARD = "README.md"
_NAME = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
_RUN = ("best.keras", "manifest.json", "evaluation/*")  # of a run that was pushed
_FILES = ("config.json", CARD, "tokenizer.json", "vocab.txt", "model.safetensors", *_RUN)
_PARTS = ("model.safetensors.index.json", "model-*-of-*.safetensors")
_OLDER = ("pytorch_model.bin",)


def local_path(weights: str, field: str = "model.weights") -> Path:
    """Returns the path that `model.weights` names, which is a downloaded folder for `hf://ORG/NAME`.

    Args:
        weights: A path, or `hf://ORG/NAME` or `hf://ORG/NAME@REVISION`. The client of the hub downloads what
            its cache does not have; without a network it takes what is there.
        field: Name of the value in messages.

    Raises:
        UserError: The name has another form, the client is not installed, or there is no such repository
            in reach.
    """
    if not weights.startswith("hf://"):
        return Path(weights).expanduser()
    name, revision = name_on_hub(weights, field)
    folder = _folder(name, revision, (*_FILES, *_PARTS), f"{field}={weights!r}")
    if not any(folder.glob("model*.safetensors")) and not is_run(folder):
        folder = _folder(name, revision, (*_FILES, *_PARTS, *_OLDER), f"{field}={weights!r}")
    if checkpoint_in(folder) is None and not is_run(folder):
        raise UserError(
            f"{name} has neither best.keras (of `tlkeras push`), model.safetensors nor pytorch_model.bin. "
            f"Received: {field}={weights!r}"
        )
    return folder


def run_on_hub(name: str) -> Path:
    """Returns the downloaded folder of a run that was pushed to `hf://USER/NAME`.

    Raises:
        UserError: As for `local_path`, or the repository holds no run.
    """
    folder = local_path(name, "run")
    if not is_run(folder):
        raise UserError(
            f"{name} is a checkpoint, and no run that `tlkeras push` wrote. Received: run={name!r}"
        )
    return folder


def is_run(folder: Path) -> bool:
    """Whether a folder holds the model of a run."""
    return (folder / _RUN[0]).is_file()


def name_on_hub(place: str, field: str) -> tuple[str, str | None]:
    """Returns `ORG/NAME` and the revision, or None, of a place on the hub.

    Args:
        place: Place as `hf://ORG/NAME` or `hf://ORG/NAME@REVISION`.
        field: Name of the value in messages.

    Raises:
        UserError: The place has another form.
    """
    match = _NAME.fullmatch(place)
    if match is None:
        raise UserError(
            "Models on the hub are named hf://ORG/NAME or hf://ORG/NAME@REVISION. "
            f"Received: {field}={place!r}"
        )
    return match[1], match[2]


def client(received: str):
    """Returns the package of the hub's client. Raises `UserError` if it is not installed.

    Args:
        received: The value that needs it, for the message.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(
            f"hf:// needs the package huggingface_hub: {install('hub')}. Received: {received}"
        ) from error
    return huggingface_hub


def client_errors(hub) -> tuple[type[Exception], ...]:
    """Returns the errors that the client means to raise, with those of the HTTP library that it uses.

    Args:
        hub: The package of the client.
    """
    return (OSError, ValueError, *hub.errors.HfHubHTTPError.__bases__)


def said(error: Exception) -> str:
    """Returns the beginning of an error's text as one line without a final dot."""
    return (" ".join(str(error).split())[:300] or type(error).__name__).rstrip(".")


def _folder(name: str, revision: str | None, patterns: tuple[str, ...], received: str) -> Path:
    hub = client(received)
    try:
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except client_errors(hub) as error:
        raise UserError(
            f"{name} is neither in the cache of the hub's client nor can it be downloaded: "
            f"{said(error)}. Received: {received}"
        ) from error


def stated_licence(folder: Path) -> str:
    """Returns the licence that the model card in a folder states, as the hub spells it; empty without one."""
    try:
        card = (folder / CARD).read_text("utf-8")
    except (OSError, ValueError):
        return ""
    head = re.match(r"---\n(.*?)\n---", card, re.DOTALL)
    lines = dict(re.findall(r"^(license|license_name):[ \t]*(\S+)", head[1] if head else "", re.MULTILINE))
    return lines.get("license_name" if lines.get("license") == "other" else "license", "").strip("'\"")
