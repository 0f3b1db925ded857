"""Computes the first steps of DANN by hand and compares them with the weights of each library.

Command:  python benchmarks/peers/domain_adaptation/by_hand.py DIR
Time:     a second of one core for five files `moons_*.npz`, all of which are trained in each form.

The libraries differ in two respects. The domain loss is a mean over all rows or a sum of two means, and skada
also multiplies the classifier's own gradient by the weight; Adam divides this factor out, except for its
epsilon. And Keras adds epsilon to the root of the second moment before its bias correction, PyTorch after it.
With these two settings, one computation in float64 gives the weights of all libraries in results.jsonl.
"""

import sys
from pathlib import Path

import numpy as np
from job import BATCH, EPSILON, Problem
from run import RESULTS
from tables import read_lines

UNITS, STRENGTH = (32, 32), 6.0
# library: factor of the domain classifier's gradient, whether epsilon comes before the bias correction
LIBRARIES = {"tlkeras": (1, True), "adapt": (2, True), "skada": (6, False), "pytorch-adapt": (2, False)}


def gradients(parts: list[np.ndarray], source, labels, target, factor: float) -> list[np.ndarray]:
    """Returns the gradients of all weights.

    Args:
        parts: Kernel and bias of the hidden layer, of the classifier and of three layers of the domain
            classifier, in turn.
        source, labels, target: Rows `(n, d)` and classes `(n,)` of a step.
        factor: Factor of the gradient of the domain classifier.
    """
    kernel, bias, out, out_bias, first, first_bias, second, second_bias, last, last_bias = parts
    x, n = np.concatenate([source, target]).astype(float), len(source)
    features = 1 / (1 + np.exp(-(x @ kernel + bias)))
    scores = features[:n] @ out + out_bias
    error = np.exp(scores - scores.max(axis=1, keepdims=True))
    error /= error.sum(axis=1, keepdims=True)
    error[np.arange(n), labels] -= 1
    error /= n
    hidden = [np.maximum(features @ first + first_bias, 0)]
    hidden.append(np.maximum(hidden[0] @ second + second_bias, 0))
    is_source = np.repeat([1.0, 0.0], n)[:, None]
    domain = (1 / (1 + np.exp(-(hidden[1] @ last + last_bias))) - is_source) / (2 * n)
    to_second = (domain @ last.T) * (hidden[1] > 0)
    to_first = (to_second @ second.T) * (hidden[0] > 0)
    to_features = -STRENGTH * (to_first @ first.T)
    to_features[:n] += error @ out.T
    to_hidden = to_features * features * (1 - features)
    of_domain = [(features, to_first), (hidden[0], to_second), (hidden[1], domain)]
    return [
        x.T @ to_hidden, to_hidden.sum(axis=0), features[:n].T @ error, error.sum(axis=0),
        *(factor * part for rows, to in of_domain for part in (rows.T @ to, to.sum(axis=0))),
    ]  # fmt: skip


def trained(problem: Problem, factor: float, epsilon_first: bool) -> np.ndarray:
    """Returns the weights of hidden layer and classifier after all steps, `(weights,)`."""
    parts = [part.astype(float) for part in problem.first + problem.head(problem.hidden, UNITS)]
    means, squares = ([np.zeros_like(part) for part in parts] for _ in range(2))
    source, labels, target = problem.stream()
    for step in range(1, problem.steps + 1):
        rows = slice((step - 1) * BATCH, step * BATCH)
        for i, gradient in enumerate(gradients(parts, source[rows], labels[rows], target[rows], factor)):
            means[i] = 0.9 * means[i] + 0.1 * gradient
            squares[i] = 0.999 * squares[i] + 0.001 * gradient**2
            correction = np.sqrt(1 - 0.999**step)
            epsilon = EPSILON / correction if epsilon_first else EPSILON
            move = means[i] / (1 - 0.9**step) / (np.sqrt(squares[i]) / correction + epsilon)
            parts[i] = parts[i] - problem.rate * move
    return np.concatenate([part.ravel() for part in parts[:4]])


def accuracy(problem: Problem, weights: np.ndarray) -> float:
    """Returns the accuracy of the weights on the target."""
    shapes = [part.shape for part in problem.first]
    ends = np.cumsum([np.prod(shape) for shape in shapes])[:-1]
    kernel, bias, out, out_bias = (
        part.reshape(shape) for part, shape in zip(np.split(weights, ends), shapes, strict=True)
    )
    logits = lambda x: 1 / (1 + np.exp(-(x @ kernel + bias))) @ out + out_bias  # noqa: E731
    return problem.accuracy(logits)["target"]


def main() -> None:
    """Prints the largest difference from each library, and accuracies of many seeds in each form."""
    folder = Path(sys.argv[1])
    problem = Problem(folder / "agreement_0.npz")
    for found in read_lines(RESULTS):
        if found["task"] == "agreement" and found["method"] == "dann":
            ours = trained(problem, *LIBRARIES[found["library"]])
            print(f"{found['library']:14s} {np.abs(ours - found['weights']).max():.1e}", flush=True)
    files = sorted(folder.glob("moons_*.npz"))
    for library, form in LIBRARIES.items():
        reached = [accuracy(moons, trained(moons, *form)) for moons in map(Problem, files)]
        low, median, high = np.quantile(reached, (0.25, 0.5, 0.75))
        below = sum(value < 0.8 for value in reached)
        print(f"as {library}: median {median:.3f}, quartiles {low:.3f} and {high:.3f}, ", end="")
        print(f"{below} of {len(files)} seeds below .8", flush=True)


if __name__ == "__main__":
    main()
