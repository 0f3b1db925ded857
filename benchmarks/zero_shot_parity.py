"""Writes what the tests hold zero-shot classification against: logits of tiny CLIP and SigLIP models.

The weights follow from their names (tests/models/random_tensors.py), so only names, shapes, token ids and
logits are kept. Run it in an environment with torch and transformers, and no tlkeras:

    python benchmarks/zero_shot_parity.py
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.numpy import load_file, save_file

FIXTURES = Path(__file__).parent.parent / "tests" / "models"
sys.path.insert(0, str(FIXTURES))

from random_tensors import random_pictures, random_tensor  # noqa: E402

# tests/models/test_zero_shot.py has a vocabulary of 12 words; the first four have a meaning of their own
TEXT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
        "vocab_size": 12, "max_position_embeddings": 10}  # fmt: skip
IMAGE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
         "patch_size": 8, "image_size": 32}  # fmt: skip
PAIRS = {
    "CLIP": {
        "text_config": TEXT | {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0},
        "vision_config": IMAGE,
        "projection_dim": 10,
    },
    "Siglip": {"text_config": TEXT | {"pad_token_id": 1}, "vision_config": IMAGE},
}
IDS = {
    "CLIP": [
        [2, 4, 5, 6, 7, 11, 3, 0, 0, 0],
        [2, 4, 5, 6, 8, 9, 10, 3, 0, 0],
        [2, 4, 5, 6, 9, 3, 0, 0, 0, 0],
    ],
    "Siglip": [
        [4, 5, 6, 7, 11, 1, 1, 1, 1, 1],
        [4, 5, 6, 8, 9, 10, 1, 1, 1, 1],
        [4, 5, 6, 9, 1, 1, 1, 1, 1, 1],
    ],
}


def logits_of(kind: str) -> dict:
    """Returns shapes of the weights, the text config, and the logits of two pictures and three texts."""
    config = getattr(transformers, f"{kind}Config")(**PAIRS[kind])
    make = getattr(transformers, f"{kind}Model")
    with tempfile.TemporaryDirectory() as folder:
        make(config).save_pretrained(folder)
        file = f"{folder}/model.safetensors"
        tensors = {k: random_tensor(k, v.shape) for k, v in load_file(file).items()}
        save_file(tensors, file, {"format": "pt"})
        model = make.from_pretrained(folder).eval().double()
    x = torch.from_numpy(random_pictures(2, 32)).permute(0, 3, 1, 2).double()
    with torch.no_grad():
        found = model(input_ids=torch.tensor(IDS[kind]), pixel_values=x).logits_per_image
    return {
        "shapes": {k: v.shape for k, v in tensors.items()},
        "ids": IDS[kind],
        "text_config": PAIRS[kind]["text_config"],
        "logits": [[float(f"{value:.7g}") for value in row] for row in found.tolist()],
    }


if __name__ == "__main__":
    lines = ",\n".join(f'"{kind}": {json.dumps(logits_of(kind))}' for kind in PAIRS)
    (FIXTURES / "tiny_pairs.json").write_text(f"{{{lines}}}\n", "utf-8")
