"""Multiplications of a network, counted from its layers."""

import math

import keras


def multiply_adds(model: keras.Model) -> int:
    """Returns the multiply-adds of one example: convolutions, dense layers and products of tensors.

    Norms, activations, pooling and biases do not count, as in the tables of papers and of timm.
    """
    graph = model._functional if isinstance(model, keras.Sequential) else model
    nodes = [node for level in graph._nodes_by_depth.values() for node in level]
    return sum(_of_node(node) for node in nodes if not node.is_input)


def _of_node(node) -> int:
    op, kind = node.operation, type(node.operation).__name__
    if isinstance(op, keras.Model):
        return multiply_adds(op)
    shapes = [tuple(x.shape) for x in node.input_tensors]
    out = tuple(node.output_tensors[0].shape)
    places = math.prod(out[1:-1])
    if kind == "Conv2D":
        return places * math.prod(op.kernel.shape)
    if kind in ("DepthwiseConv1D", "DepthwiseConv2D"):
        return places * math.prod(op.kernel.shape)
    if kind == "SeparableConv2D":
        return places * (math.prod(op.depthwise_kernel.shape) + math.prod(op.pointwise_kernel.shape))
    if kind == "Dense":
        return places * math.prod(op.kernel.shape)
    if kind == "EinsumDense":
        return _of_einsum(op.equation, [*shapes, tuple(op.kernel.shape)])
    if kind == "Einsum":
        return _of_einsum(op.subscripts, shapes)
    if kind == "DotProductAttention":
        (_, tokens, heads, size), (_, others, *_) = shapes[0], shapes[1]
        return 2 * tokens * others * heads * size
    assert kind not in ("Matmul", "Dot", "Conv1D", "Conv2DTranspose", "MultiHeadAttention"), kind
    return 0


def _of_einsum(equation: str, shapes) -> int:
    """Returns the product of all axes, the first one of the first tensor aside, which is the batch."""
    terms = equation.partition("->")[0].split(",")
    sizes = dict(zip("".join(terms), [side for shape in shapes for side in shape], strict=True))
    return math.prod(side for side in sizes.values() if side)
