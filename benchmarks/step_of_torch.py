"""A forward pass or a training step of timm's network, for `step_speed.py`, in an environment with timm.

    python step_of_torch.py '{"network": "vit_small", "what": "step", "batch": 8, "compile": false}'

The script prints a line when it is warm. Then, for each number on stdin, it runs so many passes and prints
the seconds of one pass and the peak memory in MiB.
"""

import json
import resource
import sys
import time

import timm
import torch

NAMES = {
    "vit_small": ("vit_small_patch16_224", {}),
    "dinov2_small": ("vit_small_patch14_dinov2", {"img_size": 224}),
    "convnextv2_tiny": ("convnextv2_tiny", {}),
    "swin_tiny": ("swin_tiny_patch4_window7_224", {}),
    "mobilenet_v2": ("mobilenetv2_100", {}),
    "resnet50": ("resnet50", {}),
    "efficientnet_lite0": ("efficientnet_lite0", {}),
}
CONVOLUTIONAL = ("convnextv2_tiny", "mobilenet_v2", "resnet50", "efficientnet_lite0")
CLASSES = 10


def pass_of(asked: dict):
    """Returns a function that runs a pass and waits for its result."""
    torch.manual_seed(0)
    torch.set_num_threads(asked["threads"])
    name, arguments = NAMES[asked["network"]]
    network = timm.create_model(name, num_classes=CLASSES, **arguments)
    x = 255 * torch.rand(asked["batch"], 3, 224, 224)
    if asked["network"] in CONVOLUTIONAL:  # the faster layout for convolutions
        network, x = (
            network.to(memory_format=torch.channels_last),
            x.contiguous(memory_format=torch.channels_last),
        )
    network.train(asked["what"] == "step")
    model = torch.compile(network) if asked["compile"] else network
    scaled = lambda: (x - 127.5) / 127.5  # noqa: E731
    if asked["what"] == "forward":

        def forward():
            with torch.inference_mode():
                model(scaled())

        return forward
    labels = torch.arange(asked["batch"]) % CLASSES
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=0.05, fused=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(model(scaled()), labels)
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def main(asked: dict) -> None:
    one = pass_of(asked)
    for _ in range(3):
        one()
    print(json.dumps({"torch": torch.__version__, "timm": timm.__version__}), flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        for _ in range(int(line)):
            one()
        seconds = (time.perf_counter() - began) / int(line)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        print(json.dumps({"seconds": seconds, "memory_mb": memory}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
