"""Opens saved models, with the layers of tlkeras that they may contain."""

import os
from pathlib import Path

import keras

from tlkeras.errors import UserError
from tlkeras.methods.adapt import gradient_reversal  # noqa: F401 - Keras knows the layers of these modules
from tlkeras.models import heads, nearest_neighbors  # noqa: F401


def load_model(path: str | os.PathLike) -> keras.Model:
    """Opens a saved model, which may contain layers of tlkeras. Code in the file is never executed.

    Args:
        path: `.keras` file, for example `best.keras` of a run.

    Returns:
        Model, not compiled.

    Raises:
        UserError: The file is missing or damaged, or it contains code.
    """
    if not Path(path).is_file():
        raise UserError(f"There is no model file. Received: {path}")
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise UserError(f"{path} cannot be opened as a model: {str(error).splitlines()[0]}") from error
