"""The manifest of a run: all that it depends on besides its config (versions, devices, code, data)."""

import hashlib
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tlkeras
from tlkeras.backend import environment
from tlkeras.data import Domain
from tlkeras.data.input_shapes import shape_as_json
from tlkeras.errors import UserError

PACKAGES = ("tensorflow", "keras", "numpy", "tensorflow-datasets", "scikit-learn", "Pillow", "pydantic")


def manifest(parts) -> dict[str, Any]:
    """Returns the manifest of a run as JSON values.

    Args:
        parts: `Parts` of the run.
    """
    config, model, domains = parts.config, parts.model, parts.domains
    source, weights = domains["source"], model.weights_report
    return {
        "name": config.name,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "seed": config.seed,
        "task": source.task,
        "modality": source.modality.name,
        "class_names": list(source.class_names),
        "input_shape": shape_as_json(source.input_shape),
        "arrays": None if source.arrays is None else source.arrays.describe(),
        "batch_size": parts.batch_size,
        "blocks": [block.name for block in model.blocks],
        "parameters": model.count_params(),
        "weights": str(config.model.weights),
        "weights_files": {file.name: file_digest(file) for file in (weights.files if weights else ())},
        "weights_licence": weights.licence if weights else "",
        "rows": {name: {split: len(rows) for split, rows in d.splits.items()} for name, d in domains.items()},
        "excluded": {
            name: {"file": d.excluded.file, "sha256": d.excluded.digest, "rows": len(d.excluded.ids)}
            for name, d in domains.items()
            if d.excluded.file
        },
        "data_fingerprint": {name: domain.fingerprint() for name, domain in domains.items()},
        "runtime": parts.runtime.describe(),
        "versions": versions(),
        "machine": {"platform": platform.platform(), "python": platform.python_version()},
        "git": git_state(Path(tlkeras.__file__).parent),
    }


def file_digest(file: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """Returns the installed versions of the packages that affect results."""
    found = {package: environment.installed_version(package) for package in PACKAGES}
    return {"tlkeras": tlkeras.__version__} | {name: v for name, v in found.items() if v is not None}


def changed_domains(manifest: Mapping[str, Any], domains: Mapping[str, Domain]) -> list[str]:
    """Returns the names of the domains of a run whose rows, labels or splits differ from the given ones.

    Args:
        manifest: The run's manifest.
        domains: The domains as they are now, by name.
    """
    then = manifest["data_fingerprint"]
    return [n for n, digest in then.items() if n not in domains or domains[n].fingerprint() != digest]


def require_same_data(manifest: Mapping[str, Any], domains: Mapping[str, Domain], advice: str) -> None:
    """Checks that the data are still those that a run was started with.

    Args:
        manifest: The run's manifest.
        domains: The domains as they are now, by name.
        advice: A sentence about what can be done.

    Raises:
        UserError: The data of a domain differ.
    """
    if changed := changed_domains(manifest, domains):
        now = {name: domain.fingerprint()[:12] for name, domain in domains.items()}
        raise UserError(
            f"The data of the {' and the '.join(changed)} domain have changed since the run was started. "
            f"{advice} Received: fingerprint {now.get(changed[0], 'none')}. Expected: "
            f"{manifest['data_fingerprint'][changed[0]][:12]}"
        )


def git_state(folder: Path) -> dict[str, Any] | None:
    """Returns the commit of the checkout of `folder` and whether it has changes, or None outside git."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return {"commit": commit, "changed": bool(_git(folder, "status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    result = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return result.stdout.strip()
