"""Weights from the Hugging Face Hub (huggingface.co), named `hf://ORG/NAME`, by its own client and cache."""

import re
from pathlib import Path

from tlkeras.errors import UserError, install
from tlkeras.models.weights.checkpoints import checkpoint_in

_NAME = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
_FILES = ("config.json", "README.md", "tokenizer.json", "vocab.txt", "model.safetensors")
_PARTS = ("model.safetensors.index.json", "model-*-of-*.safetensors")
_OLDER = ("pytorch_model.bin",)


def local_path(weights: str) -> Path:
    """Returns the path that `model.weights` names, which is a downloaded folder for `hf://ORG/NAME`.

    Args:
        weights: A path, or `hf://ORG/NAME` or `hf://ORG/NAME@REVISION`. The client of the hub downloads what
            its cache does not have; without a network it takes what is there.

    Raises:
        UserError: The name has another form, the client is not installed, or there is no such repository
            in reach.
    """
    if not weights.startswith("hf://"):
        return Path(weights).expanduser()
    match = _NAME.fullmatch(weights)
    if match is None:
        raise UserError(
            f"Weights of the hub are named hf://ORG/NAME or hf://ORG/NAME@REVISION. "
            f"Received: model.weights={weights!r}"
        )
    folder = _folder(weights, *match.groups(), (*_FILES, *_PARTS))
    if not any(folder.glob("model*.safetensors")):
        folder = _folder(weights, *match.groups(), (*_FILES, *_PARTS, *_OLDER))
    if checkpoint_in(folder) is None:
        raise UserError(
            f"{match[1]} has neither model.safetensors nor pytorch_model.bin. "
            f"Received: model.weights={weights!r}"
        )
    return folder


def _folder(weights: str, name: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(
            f"hf:// needs the package huggingface_hub: {install('hub')}. Received: model.weights={weights!r}"
        ) from error
    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except (OSError, ValueError) as error:  # as which the client raises all that it means to
        raise UserError(
            f"{name} is neither in the cache of the hub's client nor can it be downloaded: "
            f"{str(error).strip().splitlines()[0].rstrip('.')}. Received: model.weights={weights!r}"
        ) from error


def stated_licence(folder: Path) -> str:
    """Returns the licence that the model card in a folder states, as the hub spells it; empty without one."""
    try:
        card = (folder / "README.md").read_text("utf-8")
    except (OSError, ValueError):
        return ""
    head = re.match(r"---\n(.*?)\n---", card, re.DOTALL)
    lines = dict(re.findall(r"^(license|license_name):[ \t]*(\S+)", head[1] if head else "", re.MULTILINE))
    return lines.get("license_name" if lines.get("license") == "other" else "license", "").strip("'\"")
