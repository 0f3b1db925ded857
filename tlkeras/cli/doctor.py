"""Shows the versions, devices and folders of this installation of tlkeras, and the packages of each extra.

The command exits with code 1 if tlkeras cannot train here. The last lines name the reasons.
"""

import platform
import shutil
from importlib import metadata
from pathlib import Path

from absl import flags as absl_flags
from packaging.requirements import Requirement

from tlkeras import __version__, features, messages
from tlkeras.backend import environment
from tlkeras.cli.common import no_arguments
from tlkeras.cli.tables import print_table
from tlkeras.errors import UserError

USAGE = "tlkeras doctor"

_SHOWN = ("tensorflow", "keras", "numpy", "pydantic", "scikit-learn", "tensorflow-datasets", "tensorboard")
_FOR_CONTRIBUTORS = "test"
_NAMED = 4  # largest number of missing packages that are named for an extra


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the flags of the command, which has no flags of its own."""


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> int:
    """Runs the command. Returns 1 if something keeps tlkeras from training, else 0."""
    no_arguments(flags, arguments)
    problems = []
    print_table([{"package": name, "version": version} for name, version in _versions().items()])
    messages.result("")
    print_table([{"place": name, "found": found} for name, found in _machine(problems).items()])
    messages.result("")
    print_table(_extras(problems))
    messages.result("")
    for problem in problems:
        messages.result(f"Problem: {problem}")
    if not problems:
        messages.result("tlkeras can train here.")
    return int(bool(problems))


def _versions() -> dict[str, str]:
    found = {"tlkeras": __version__, "python": platform.python_version()}
    return found | {name: environment.installed_version(name) or "not installed" for name in _SHOWN}


def _machine(problems: list[str]) -> dict[str, str]:
    """Returns devices and folders. Reasons why tlkeras cannot train are added to `problems`."""
    from tlkeras.models.weights.files import backbones_with_weights, keras_models_dir

    store = features.FeatureStore()
    if not store.usable():
        problems.append(
            f"the cache directory is not writable: {store.directory}. Set XDG_CACHE_HOME to another folder."
        )
    kept = sum(entry.nbytes for entry in store.entries())
    return {
        "platform": platform.platform(),
        "devices": _devices(problems),
        "cores": str(environment.cpu_count()),
        "feature cache": f"{store.directory} ({kept / 1e6:.0f} MB used, {_free(store.directory)} free)",
        "Keras' weights": str(keras_models_dir()),
        "backbones with local weights": ", ".join(backbones_with_weights()) or "none",
    }


def _devices(problems: list[str]) -> str:
    try:
        environment.check_tensorflow()
    except UserError as error:
        problems.append(str(error))
        return "unknown"
    from tlkeras.backend.devices import physical_devices

    counts = physical_devices()
    if environment.has_tpu() and "TPU" not in counts:
        problems.append(
            "the machine has a TPU that this build of TensorFlow cannot use. docs/clusters_and_colab.md "
            "lists the builds that can."
        )
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def _free(folder: Path) -> str:
    while not folder.exists():
        folder = folder.parent
    return f"{shutil.disk_usage(folder).free / 1e9:.0f} GB"


def _extras(problems: list[str]) -> list[dict[str, str]]:
    """Returns a row for each extra with its missing packages. Adds missing requirements to `problems`."""
    if environment.installed_version("tlkeras") is None:
        problems.append("tlkeras runs from a folder that is not installed. Run pip install -e FOLDER.")
        return []
    problems += [f"tlkeras requires {name}." for name in _lacking("tlkeras", "")]
    extras = metadata.metadata("tlkeras").get_all("Provides-Extra") or []
    lacking = {extra: _lacking("tlkeras", extra) for extra in extras if extra != _FOR_CONTRIBUTORS}
    return [{"extra": extra, "state": _state(names)} for extra, names in lacking.items()]


def _state(lacking: list[str]) -> str:
    if not lacking:
        return "installed"
    more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
    return f"not installed: {', '.join(lacking[:_NAMED])}{more}"


def _lacking(package: str, extra: str) -> list[str]:
    """Returns the requirements of `package[extra]` that are missing or have a version that does not fit.

    Args:
        package: Name of an installed package.
        extra: Name of an extra. An empty string stands for the requirements of the package without extras.
    """
    found = []
    for requirement in map(Requirement, metadata.requires(package) or []):
        if bool(extra) != ("extra" in str(requirement.marker)):
            continue
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        version = environment.installed_version(requirement.name)
        if version is None:
            found.append(requirement.name)
        elif not requirement.specifier.contains(version, prereleases=True):
            found.append(f"{requirement.name}{requirement.specifier} (installed: {version})")
        else:
            found += [name for more in requirement.extras for name in _lacking(requirement.name, more)]
    return found
