"""Texts and pairs of texts: token ids, a mask, and for pairs the types of the tokens."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from tlkeras.config.data import WORD_CHANGES, AugmentConfig
from tlkeras.data.input_shapes import by_column
from tlkeras.data.modalities.base import Modality
from tlkeras.data.rows import row_ids
from tlkeras.data.tokenizer import FILE, Tokenizer
from tlkeras.errors import UserError
from tlkeras.maybe import MaybeNone

PAIR = ("text", "text_pair")  # columns of texts in lists if data.text does not name them
_NOTED_ROWS = 2000  # of which the share of cut texts is estimated when a training starts
_NOTED_SHARE = 0.01


class Text(Modality):
    """Token ids and a mask (1 for tokens, 0 for padding), both int32 `(max_length,)`.

    Pairs of texts also have `types`, int32 `(max_length,)`, which is 1 for the tokens of the second text.

    Args:
        tokenizer: Tokenizer of the data. Without one, only ids and masks can be inputs.
    """

    name = "text"
    plural = "texts"
    hub_name = "text"
    values = "int32 token ids with their mask"
    dtypes = {"ids": "int32", "mask": "int32", "types": "int32"}
    augmentations = WORD_CHANGES
    searched = {"words left out": AugmentConfig(word_deletion=0.1)}
    views_advice = "adaptation.strong_augment.word_deletion, e.g. 0.2"
    explanation = "tlkeras.evaluation.explain_texts:leave_out"

    def __init__(self, tokenizer: Tokenizer | MaybeNone = None):
        self.tokenizer = tokenizer

    def with_config(self, config):
        return self if config.tokenizer is None else Text(Tokenizer.read(config.tokenizer))

    def of_table(self, table, config):
        for split, rows in table.splits.items():
            if rows.kind != "files":
                raise UserError(
                    "data.tokenizer needs texts: a list (csv, jsonl, parquet) with data.text=COLUMN, "
                    "text_folder:DIR, or arrays of strings. "
                    f"Received: {rows.kind} in {split} of {config.source}"
                )
        # an array of strings has its strings as ids
        splits = {
            split: replace(rows, ids=row_ids(len(rows), split)) if rows.ids is rows.inputs else rows
            for split, rows in table.splits.items()
        }
        return replace(table, splits=splits, modality=self)

    def encoded(self, inputs, config, missing=False):
        return self.tokenizer.encode(inputs, config.max_length, missing)

    def of_run(self, folder):
        file = Path(folder) / FILE
        return Text(Tokenizer.read(file)) if file.is_file() else self

    def config_of_run(self, config, folder):
        file = Path(folder) / FILE
        return config.model_copy(update={"tokenizer": str(file)}) if file.is_file() else config

    @property
    def files(self):
        return {} if self.tokenizer is None else {FILE: self.tokenizer.text}

    def assumed_shape(self, config, default_size=None):
        names = self.dtypes if len(config.text_columns) > 1 else ("ids", "mask")
        return dict.fromkeys(names, (config.max_length,))

    def resolved(self, config, shape):
        """Also gives the columns of a list names, by which `predict` reads it, if the data had none."""
        names = PAIR if "types" in shape else PAIR[0]
        return config if config.text else config.model_copy(update={"text": names})

    def fits(self, shape):
        return isinstance(shape, dict) and {"ids", "mask"} <= set(shape) <= set(self.dtypes)

    def augmented(self, x, augment, seed, epoch, indices):
        if augment.unmixed.is_identity:
            return x
        from tlkeras.data.word_changes import changed_texts

        return changed_texts(x, self.tokenizer, augment, seed, epoch, indices)

    def check_kind(self, name, other):
        if not isinstance(other, Text):
            super().check_kind(name, other)
        if getattr(other, "tokenizer", None) != self.tokenizer:
            raise UserError(
                f"All domains must use the same tokenizer: leave adaptation.{name}.tokenizer out to use "
                "data.tokenizer. Received: another tokenizer"
            )

    def facts_of_rows(self, rows, config):
        if rows.originals is None:
            return {}
        lengths = self.tokenizer.lengths(rows.originals)
        texts = [text for row in np.atleast_2d(rows.originals.T).T for text in row]
        return {
            "tokens": {
                "min": int(lengths.min()),
                "median": int(np.median(lengths)),
                "max": int(lengths.max()),
            },
            f"cut by data.max_length={config.max_length}": float((lengths > config.max_length).mean()),
            "unknown tokens": self.tokenizer.unknown_share(rows.inputs),
            "scripts": scripts(texts),
        }

    def note_on_rows(self, rows, config):
        if rows.originals is None:
            return ""
        lengths = self.tokenizer.lengths(np.asarray(rows.spread(_NOTED_ROWS).originals))
        cut = float((lengths > config.max_length).mean())
        if cut < _NOTED_SHARE:
            return ""
        return (
            f"{cut:.0%} of the training texts have more than data.max_length={config.max_length} tokens "
            f"and are truncated. The longest text has {lengths.max()} tokens."
        )

    def check_model(self, backbone):
        words = [layer.input_dim for layer in backbone.layers if layer.name == "stem_words"]
        if self.tokenizer is not None and words and self.tokenizer.size > words[0]:
            raise UserError(
                f"data.tokenizer belongs to another model: it has {self.tokenizer.size} entries, but "
                f"{backbone.name} has {words[0]}. Received: a tokenizer of {self.tokenizer.size} entries"
            )

    def inputs_like_training(self, x, form, shape):
        if isinstance(x, str):
            raise UserError(f"x must be a list of texts, also for a single text. Received: {x[:60]!r}")
        if isinstance(x, list | tuple) or getattr(x, "dtype", np.dtype(float)).kind in "OUS":
            texts = _pairs(x) if "types" in shape else list(x)
            other = [
                one for one in texts if not (_is_pair(one) if "types" in shape else isinstance(one, str))
            ]
            if other or not texts:
                wanted = "pairs of texts (tuples, or a tab between them)" if "types" in shape else "texts"
                received = f"{type(other[0]).__name__} {other[0]!r}"[:60] if other else "no text"
                raise UserError(f"x must be a list of {wanted}. Received: {received}")
            if self.tokenizer is None:
                raise UserError(
                    "The run has no tokenizer: give token ids and a mask instead of texts. Received: texts"
                )
            return self.tokenizer.encode(texts, shape["ids"][0])
        return super().inputs_like_training(x, form, shape)

    def file_batches(self, paths, config, batch_size):
        """Reads files with one text per line, or with two texts of a pair separated by a tab. Empty lines are
        skipped.
        """
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
                yield by_column(rows), list(names), []

    def texts(self, x):
        pairs = zip(np.asarray(x["ids"]), np.asarray(x["mask"]) > 0, strict=True)
        if self.tokenizer is None:
            return [[str(number) for number in ids[mask]] for ids, mask in pairs]
        return [self.tokenizer.tokens(ids[mask]) for ids, mask in pairs]


def scripts(texts: Iterable[str]) -> dict[str, float]:
    """Returns the scripts of the letters of texts, such as `latin`, with their shares, in descending
    order.
    """
    letters = Counter(letter for text in texts for letter in text if letter.isalpha())
    found = Counter()
    for letter, count in letters.items():
        found[unicodedata.name(letter, "unnamed").split()[0].partition("-")[0].lower()] += count
    return {name: count / letters.total() for name, count in found.most_common()}


def _pairs(rows) -> list:
    return [tuple(row.split("\t")) if isinstance(row, str) and "\t" in row else row for row in rows]


def _is_pair(row) -> bool:
    sized = isinstance(row, list | tuple | np.ndarray) and len(row) == 2
    return sized and all(isinstance(text, str) for text in row)
