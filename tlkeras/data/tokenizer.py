"""Converts texts to token ids with the tokenizer of a pretrained model (the package `tokenizers`)."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.data.input_shapes import columns
from tlkeras.errors import UserError, install

FILE = "tokenizer.json"  # its name in folders of weights, runs and exports
_VOCABULARY = "vocab.txt"


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer: WordPiece, BPE or Unigram, with its normalisation and its special tokens.

    Args:
        text: Content of a `tokenizer.json`.
    """

    text: str

    @classmethod
    def read(cls, path: str | Path) -> "Tokenizer":
        """Reads `tokenizer.json`, `vocab.txt` (BERT's WordPiece), or a folder that holds one of them.

        With a `vocab.txt`, texts are converted to lower case, unless a `tokenizer_config.json` next to it has
        `do_lower_case: false`.

        Raises:
            UserError: There is no such file, it is not a tokenizer, or `tokenizers` is not installed.
        """
        _library()  # so that a missing package is not reported as a broken file
        place = Path(path).expanduser()
        file = tokenizer_in(place)
        if file is None:
            raise UserError(
                f"data.tokenizer must be a {FILE}, a {_VOCABULARY}, or a folder with one of them. "
                f"Received: {str(place)!r}"
            )
        try:
            found = cls(_word_piece(file).to_str() if file.suffix == ".txt" else file.read_text("utf-8"))
            _ = found._encoder  # is parsed now, so that an error can name the file, and is kept
        except Exception as error:  # the library raises Exception itself
            reason = str(error).splitlines()[0]
            raise UserError(f"The package tokenizers cannot read {file}: {reason}") from error
        return found

    @cached_property
    def _encoder(self):
        encoder = _library().Tokenizer.from_str(self.text)
        encoder.no_padding()
        return encoder

    @property
    def size(self) -> int:
        """The number of entries of the vocabulary, including added tokens."""
        return self._encoder.get_vocab_size(with_added_tokens=True)

    @cached_property
    def special(self) -> list[int]:
        """Ids of the tokens that mark the beginning and the end of a text, padding and the like."""
        return [i for i, token in self._encoder.get_added_tokens_decoder().items() if token.special]

    @cached_property
    def continues(self) -> np.ndarray:
        """Whether a token continues a word, bool `(entries,)`.

        A WordPiece that continues a word is written with `##`. Byte-level BPE and SentencePiece mark the
        tokens that begin a word.
        """
        vocabulary = self._encoder.get_vocab(with_added_tokens=True)
        found = np.zeros(max(vocabulary.values()) + 1, bool)
        pieces = any(token.startswith("##") for token in vocabulary)
        marks = any(token.startswith(("Ġ", "▁")) for token in vocabulary)
        for token, number in vocabulary.items():
            found[number] = token.startswith("##") if pieces else marks and token[:1] not in ("Ġ", "▁")
        return found

    def encode(self, texts: np.ndarray | Iterable[str], length: int, missing: bool = False) -> np.ndarray:
        """Returns the columns `ids` and `mask` of texts, int32 `(n, length)`.

        A longer text is truncated and keeps the special tokens at its start and end. A shorter one is padded
        with 0. A pair of texts becomes one sequence, of which the longer text is truncated first. Pairs have
        the further column `types`, which is 1 for the tokens of the second text.

        Args:
            texts: Texts `(n,)` or pairs of texts `(n, 2)` to convert.
            length: Number of tokens of each row, special tokens included.
            missing: Whether a text may be missing. The mask of an empty text is then zero everywhere.

        Raises:
            UserError: A text has no token, or `length` has no place for one beside the special tokens.
        """
        texts = np.asarray(texts, object)
        pairs = texts.ndim == 2
        if length <= (least := self._encoder.num_special_tokens_to_add(pairs)):
            raise UserError(
                f"data.max_length must be larger than {least}, the number of special tokens. Received: "
                f"{length}"
            )
        self._encoder.enable_truncation(length)
        names = ("ids", "mask", "types") if pairs else ("ids", "mask")
        found = {name: np.zeros((len(texts), length), np.int32) for name in names}
        given: list[Any] = [tuple(map(str, pair)) if pairs else str(pair) for pair in texts]
        for row, tokens in enumerate(self._encoder.encode_batch(given)):
            empty = [text for text in ([given[row]] if not pairs else given[row]) if not text.strip()]
            if empty and missing:
                continue
            if empty or not tokens.ids:
                raise UserError(f"A text must not be empty. Received: {given[row]!r} in row {row}")
            count = len(tokens.ids)
            found["ids"][row, :count], found["mask"][row, :count] = tokens.ids, 1
            if pairs:
                found["types"][row, :count] = tokens.type_ids
        return columns(found)

    def lengths(self, texts: np.ndarray) -> np.ndarray:
        """Returns the numbers of tokens of uncut texts `(n,)` or pairs `(n, 2)`, special tokens included."""
        self._encoder.no_truncation()
        given = [tuple(text) if isinstance(text, np.ndarray) else str(text) for text in texts]
        return np.array([len(found.ids) for found in self._encoder.encode_batch(given)])

    def unknown_share(self, rows: np.ndarray) -> float:
        """Returns the share of tokens in columns of `encode` for which the vocabulary has no entry."""
        unknown = getattr(self._encoder.model, "unk_token", None)
        number = None if unknown is None else self._encoder.token_to_id(unknown)
        return 0.0 if number is None else float((rows["ids"][rows["mask"] > 0] == number).mean())

    def padding(self, folder: Path) -> int:
        """Returns the id of the token with which the model was trained to pad texts.

        Args:
            folder: Folder of the weights. Its `tokenizer_config.json` names the token; without it, the token
                is `<pad>` or `</s>`, else 0.
        """
        beside = folder / "tokenizer_config.json"
        stated = json.loads(beside.read_text("utf-8")).get("pad_token") if beside.is_file() else None
        stated = stated.get("content") if isinstance(stated, dict) else stated
        numbers = (self._encoder.token_to_id(token) for token in (stated, "<pad>", "</s>") if token)
        return next((number for number in numbers if number is not None), 0)

    def difference(self, other: "Tokenizer") -> str:
        """Returns an example of a token whose id is another in the other tokenizer, or an empty string."""
        ours, theirs = self._encoder.get_vocab(), other._encoder.get_vocab()
        for token, number in sorted(theirs.items(), key=lambda pair: pair[1]):
            if ours.get(token) != number:
                return f"{token!r} is {ours.get(token, 'no token')} there and {number} here"
        return ""

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """Returns the tokens of ids, as they are written in the vocabulary."""
        return [self._encoder.id_to_token(int(number)) or "?" for number in ids]


def tokenizer_in(place: Path) -> Path | None:
    """Returns the file of a tokenizer: `place` itself, or a file in that folder. None if there is none."""
    if place.is_dir():
        return next((place / name for name in (FILE, _VOCABULARY) if (place / name).is_file()), None)
    return place if place.is_file() else None


def _library():
    try:
        import tokenizers
    except ImportError as error:
        raise UserError(f"Texts need the package tokenizers: {install('text')}") from error
    return tokenizers


def _word_piece(file: Path):
    library = _library()
    words = file.read_text("utf-8").splitlines()
    vocabulary = {word: number for number, word in enumerate(words)}
    missing = [word for word in ("[UNK]", "[CLS]", "[SEP]") if word not in vocabulary]
    if missing:
        raise ValueError(f"the line {missing[0]} is missing")
    beside = file.with_name("tokenizer_config.json")
    lower = json.loads(beside.read_text("utf-8")).get("do_lower_case", True) if beside.is_file() else True
    encoder = library.Tokenizer(library.models.WordPiece(vocabulary, unk_token="[UNK]"))
    encoder.normalizer = library.normalizers.BertNormalizer(lowercase=lower)
    encoder.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    encoder.post_processor = library.processors.BertProcessing(
        ("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"])
    )
    encoder.decoder = library.decoders.WordPiece()
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    encoder.add_special_tokens([word for word in special if word in vocabulary])
    return encoder
