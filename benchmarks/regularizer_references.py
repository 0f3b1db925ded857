"""Each regularizer against its formula in torch: values and gradients on random tensors.

The formulas are written here after the papers and after tllib, whose code is not used. In an environment with
torch:

    python benchmarks/regularizer_references.py --originals=FILE.npz

then in one with tlkeras:

    python benchmarks/regularizer_references.py --compare=FILE.npz

which prints the largest relative difference of the value and of the gradients for each term and size. With
torch in float64 and tlkeras in float32, what is left is rounding. The last column is the factor by which
tllib's own loss differs from that of tlkeras at the same weight.
"""

import argparse

import numpy as np

SHAPES = [(6, 11), (32, 10), (48, 256)]
MAPS = [(4, 7, 7, 16), (16, 3, 3, 64)]
CLASSES, SOURCE_CLASSES = 5, 20


def tensors(term: str, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Returns the random inputs of a term, of which those in `GRADIENTS` have gradients."""
    draw = np.random.default_rng([len(term), *shape])
    found = {name: draw.normal(size=shape).astype("float32") for name in ("now", "start")}
    width = shape[-1]
    found["labels"] = np.arange(shape[0]) % CLASSES
    found["kernel"] = (draw.normal(size=(width, SOURCE_CLASSES)) / np.sqrt(width)).astype("float32")
    relation = draw.random((CLASSES, SOURCE_CLASSES))
    found["relation"] = (relation / relation.sum(axis=1, keepdims=True)).astype("float32")
    found["gamma"], found["beta"], found["mean"] = draw.normal(size=(3, width)).astype("float32")
    found["variance"] = draw.uniform(0.5, 2, width).astype("float32")
    found["slope"] = draw.normal(size=shape).astype("float32")
    return found


TERMS = {  # shapes, and the names of the tensors with gradients
    "l2_sp": (SHAPES, ("now",)),
    "delta": (MAPS, ("now",)),
    "bss": (SHAPES, ("now",)),
    "co_tuning": (SHAPES, ("now", "kernel")),
    "distillation": (SHAPES, ("now",)),
    "stochastic_norm": (SHAPES, ("now",)),
}
TLLIB = {
    "l2_sp": "1 (the head's decay is a term of its own there, and the optimizer's weight_decay here)",
    "delta": "rows, and in each block positions (a sum there, a mean here)",
    "bss": "1",
    "co_tuning": "1 (there the relation is learned from calibrated answers; here it is their plain mean)",
    "distillation": "1",
    "stochastic_norm": "no loss; p there is the probability of batch statistics, 1 - weight here",
}


def in_torch(term: str, given: dict, moving: np.ndarray | None = None) -> tuple[float, list[np.ndarray]]:
    """Returns the value and the gradients by torch in float64."""
    import torch

    x = {name: torch.tensor(value, dtype=torch.float64) for name, value in given.items()}
    x["labels"] = torch.tensor(given["labels"])
    wanted = [x[name].requires_grad_() for name in TERMS[term][1]]
    functional = torch.nn.functional
    if term == "l2_sp":
        value = 0.5 * torch.norm(x["now"] - x["start"]) ** 2
    elif term == "delta":
        apart = 0.5 * torch.norm(x["now"] - x["start"]) ** 2
        value = apart / (x["now"].numel() / x["now"].shape[-1])
    elif term == "bss":
        value = torch.linalg.svdvals(x["now"])[-1] ** 2
    elif term == "co_tuning":
        answers = functional.log_softmax(x["now"] @ x["kernel"], dim=-1)
        value = -(x["relation"][x["labels"]] * answers).sum(dim=-1).mean()
    elif term == "distillation":
        student, teacher = x["now"] / 3, x["start"] / 3
        value = 9 * functional.kl_div(
            functional.log_softmax(student, dim=-1),
            functional.softmax(teacher, dim=-1),
            reduction="batchmean",
        )
    else:
        stats = [(x["mean"], x["variance"], False), (None, None, True)]
        old, new = (
            functional.batch_norm(x["now"], mean, variance, x["gamma"], x["beta"], training, 0.0, 1e-3)
            for mean, variance, training in stats
        )
        value = (torch.where(torch.tensor(moving), old, new) * x["slope"]).sum()
    value.backward()
    return float(value.detach()), [tensor.grad.numpy() for tensor in wanted]


def in_tlkeras(term: str, given: dict) -> tuple[float, list[np.ndarray]]:
    """Returns the value and the gradients by tlkeras."""
    import tensorflow as tf

    x = {name: tf.constant(given[name]) for name in TERMS[term][1]}
    with tf.GradientTape() as tape:
        tape.watch(list(x.values()))
        value = loss_of(term, given | x)
    gradients = tape.gradient(value, list(x.values()))
    return float(value), [np.asarray(gradient) for gradient in gradients]


def loss_of(term: str, x: dict):
    """Returns the loss of tlkeras' own class on these tensors."""
    import keras
    import tensorflow as tf

    from tlkeras.methods.regularize import make_regularizer
    from tlkeras.methods.term import Pair

    if term == "stochastic_norm":
        return tf.reduce_sum(stochastic_layer(x)(x["now"], training=True) * x["slope"])
    regularizer = make_regularizer(term)
    if term == "l2_sp":
        regularizer._start, regularizer._variables = [keras.Variable(x["start"])], [x["now"]]
        return regularizer.loss()
    if term == "delta":
        regularizer._variables, regularizer._start, regularizer._inputs = [], [], None
        regularizer._maps, regularizer._now = lambda inputs, training: [tf.constant(x["start"])], [x["now"]]
        return regularizer.loss()
    if term == "co_tuning":
        regularizer._relation, regularizer._kernel = tf.constant(x["relation"]), x["kernel"]
        regularizer._bias = np.zeros(SOURCE_CLASSES, "float32")
        return regularizer.loss(Pair(x["now"], None), x["labels"])
    if term == "distillation":
        regularizer._model = lambda inputs, training: tf.constant(x["start"])
        return regularizer.loss(None, Pair(x["now"], None))
    return regularizer.loss(Pair(x["now"], None))


def stochastic_layer(x: dict):
    """Returns tlkeras' stochastic normalisation with these weights, and the draw of a fixed step."""
    from types import SimpleNamespace

    import keras

    from tlkeras.methods.regularize.forward_passes import StochasticNormalization

    layer = keras.layers.BatchNormalization(epsilon=1e-3)
    layer.build(x["now"].shape)
    layer.set_weights([x["gamma"], x["beta"], x["mean"], x["variance"]])
    stochastic = StochasticNormalization(layer, 0.5, seed=1)
    stochastic.clock = SimpleNamespace(step=3)
    return stochastic


def originals(file: str) -> None:
    """Writes values and gradients of all terms by torch. Of both normalisations, all channels are kept."""
    found = {}
    for term, (shapes, _) in TERMS.items():
        for i, shape in enumerate(shapes):
            given = tensors(term, shape)
            choices = (
                (None,) if term != "stochastic_norm" else (np.zeros(shape[1], bool), np.ones(shape[1], bool))
            )
            for j, moving in enumerate(choices):
                value, gradients = in_torch(term, given, moving)
                found[f"{term}/{i}/{j}/value"] = value
                for k, gradient in enumerate(gradients):
                    found[f"{term}/{i}/{j}/{k}"] = gradient
    np.savez(file, **found)


def compare(file: str) -> None:
    """Prints the differences as rows of a table."""
    found = np.load(file)
    print(
        "| term | difference of the value | of a gradient | tllib's loss is this times |\n|---|---|---|---|"
    )
    for term, (shapes, _) in TERMS.items():
        worst = np.zeros(2)
        for i, shape in enumerate(shapes):
            given = tensors(term, shape)
            value, gradients = in_tlkeras(term, given)
            wanted = [found[f"{term}/{i}/0/{k}"] for k in range(len(gradients))]
            exact = found[f"{term}/{i}/0/value"]
            if (
                term == "stochastic_norm"
            ):  # each channel must be one of both, and the sum is that of the choice
                other = found[f"{term}/{i}/1/0"]
                near = [np.abs(gradients[0] - side).max(axis=0) for side in (wanted[0], other)]
                wanted, exact = [np.where(near[0] < near[1], wanted[0], other)], None
            apart = [
                np.abs(a - b).max() / max(np.abs(b).max(), 1e-12)
                for a, b in zip(gradients, wanted, strict=True)
            ]
            of_value = 0.0 if exact is None else abs(value - exact) / abs(exact)
            worst = np.maximum(worst, [of_value, max(apart)])
        shown = "(gradient only)" if term == "stochastic_norm" else f"{worst[0]:.0e}"
        print(f"| `{term}` | {shown} | {worst[1]:.0e} | {TLLIB[term]} |")


if __name__ == "__main__":
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--originals", help="file to write, in an environment with torch")
    flags.add_argument("--compare", help="the same file, in an environment with tlkeras")
    given = flags.parse_args()
    originals(given.originals) if given.originals else compare(given.compare)
