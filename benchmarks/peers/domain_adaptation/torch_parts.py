"""What the libraries on PyTorch share: the network with the given first weights, and averages of weights."""

import numpy as np
import torch
from job import MOMENTUM, Problem, Trained
from torch import nn


class Encoder(nn.Module):
    """One hidden layer, whose outputs are the features."""

    def __init__(self, problem: Problem):
        super().__init__()
        self.dense = linear(*problem.first[:2])
        self.activation = nn.Sigmoid() if problem.activation == "sigmoid" else nn.ReLU()

    def forward(self, x):
        return self.activation(self.dense(x))


class Network(nn.Module):
    """Encoder and linear classifier. `sample_weight` is an argument that skada passes."""

    def __init__(self, problem: Problem):
        super().__init__()
        self.encoder, self.task = Encoder(problem), linear(*problem.first[2:])

    def forward(self, x, sample_weight=None):
        return self.task(self.encoder(x))


def linear(kernel: np.ndarray, bias: np.ndarray) -> nn.Linear:
    """Returns a layer with the weights of a Keras layer: kernel `(inputs, outputs)` and bias."""
    layer = nn.Linear(*kernel.shape)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(kernel.T.copy()))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer


def perceptron(weights: list[np.ndarray]) -> nn.Sequential:
    """Returns linear layers with ReLU between them, with the weights of `Problem.head`."""
    found: list[nn.Module] = []
    for kernel, bias in zip(weights[::2], weights[1::2], strict=True):
        found += [linear(kernel, bias), nn.ReLU()]
    return nn.Sequential(*found[:-1])


def domain_classifier(weights: list[np.ndarray]) -> nn.Sequential:
    """Returns a perceptron for the target, as these libraries label it 1. `weights` are for the source."""
    return perceptron([*weights[:-2], -weights[-2], -weights[-1]])


def averaged(model: nn.Module) -> torch.optim.swa_utils.AveragedModel:
    """Returns moving averages of the weights, as Keras' optimizers keep them. They begin at the first update.

    The averages are computed for all tensors at once, the fastest way that PyTorch has.
    """
    function = torch.optim.swa_utils.get_ema_multi_avg_fn(MOMENTUM)
    return torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=function)


def after(average: nn.Module, last: nn.Module, seconds: float, steps: int) -> Trained:
    """Returns the trained network with its averaged and its last weights."""
    first = [module for module in last.modules() if isinstance(module, nn.Linear)][:2]
    held = [part.detach().T.numpy() for layer in first for part in (layer.weight, layer.bias)]
    return Trained(_logits(average), _logits(last), held, seconds, steps)


def _logits(network: nn.Module):
    def logits(x):
        network.eval()
        with torch.inference_mode():
            found = network(torch.from_numpy(x))
        return found.numpy()

    return logits
