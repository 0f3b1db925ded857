"""Texts: token ids and a mask."""

import os
from pathlib import Path

import numpy as np

from tlkeras.data.modalities.base import Modality
from tlkeras.data.tokenizer import FILE, Tokenizer
from tlkeras.errors import UserError


class Text(Modality):
    """Token ids and mask (1 for tokens, 0 for padding), both int32 `(max_length,)`.

    Args:
        tokenizer: Tokenizer of the data. Without one, only ids and masks can be inputs.
    """

    name = "text"
    plural = "texts"
    hub_name = "text"
    dtypes = {"ids": "int32", "mask": "int32"}
    augmentations = ()
    explanation = "tlkeras.evaluation.explain_texts:leave_out"

    def __init__(self, tokenizer: Tokenizer | None = None):
        self.tokenizer = tokenizer

    def with_config(self, config):
        return self if config.tokenizer is None else Text(Tokenizer.read(config.tokenizer))

    def of_run(self, folder):
        file = Path(folder) / FILE
        return Text(Tokenizer.read(file)) if file.is_file() else self

    @property
    def files(self):
        return {} if self.tokenizer is None else {FILE: self.tokenizer.text}

    def assumed_shape(self, config, default_size=None):
        return dict.fromkeys(self.dtypes, (config.max_length,))

    def fits(self, shape):
        return isinstance(shape, dict) and set(shape) == set(self.dtypes)

    def check_model(self, model):
        words = [layer.input_dim for layer in model.layers if layer.name == "stem_words"]
        if self.tokenizer is not None and words and self.tokenizer.size > words[0]:
            raise UserError(
                f"data.tokenizer belongs to another model: it has {self.tokenizer.size} entries, but "
                f"{model.name} has {words[0]}. Received: a tokenizer of {self.tokenizer.size} entries"
            )

    def inputs_like_training(self, x, form, shape):
        if isinstance(x, str):
            raise UserError(f"x must be a list of texts, also for a single text. Received: {x[:60]!r}")
        if isinstance(x, list | tuple) or getattr(x, "dtype", np.dtype(float)).kind in "OUS":
            other = [one for one in x if not isinstance(one, str)]
            if other or not len(x):
                received = type(other[0]).__name__ if other else "no text"
                raise UserError(f"x must be a list of texts. Received: {received}")
            if self.tokenizer is None:
                raise UserError(
                    "The run has no tokenizer: give token ids and a mask instead of texts. Received: texts"
                )
            return self.tokenizer.encode(x, shape["ids"][0])
        return super().inputs_like_training(x, form, shape)

    def file_batches(self, paths, config, batch_size):
        """Reads files with one text per line. Empty lines are skipped."""
        for path in [paths] if isinstance(paths, str | os.PathLike) else paths:
            try:
                lines = Path(path).read_text("utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise UserError(
                    f"Texts must be the lines of a file in UTF-8. Received: {path} ({error})"
                ) from None
            named = [(f"{path}:{number}", line) for number, line in enumerate(lines, 1) if line.strip()]
            for begin in range(0, len(named), batch_size):
                names, texts = zip(*named[begin : begin + batch_size], strict=True)
                rows = self.inputs_like_training(list(texts), None, self.assumed_shape(config))
                yield {name: rows[name] for name in rows.dtype.names}, list(names), []

    def texts(self, x):
        pairs = zip(np.asarray(x["ids"]), np.asarray(x["mask"]) > 0, strict=True)
        if self.tokenizer is None:
            return [[str(number) for number in ids[mask]] for ids, mask in pairs]
        return [self.tokenizer.tokens(ids[mask]) for ids, mask in pairs]
