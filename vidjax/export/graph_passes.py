"""Simplification of ONNX graphs whose arrays have their channels last, so that runtimes can fuse what belongs together.

JAX keeps channels last and ONNX's convolutions first: between two convolutions a graph has transposes, and reshapes
where time goes into the batch and back. Biases and activations are moved over these to the convolution, and what then
cancels out is removed. No value changes except by rounding.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

_LAYOUT = ("Transpose", "Reshape")

_OPEN = -1  # size that depends on the number of clips

Shape = tuple[int, ...]


def simplify(model: Any, helpers: Any) -> None:
    """Simplify a graph in place, as long as there is something to do.

    Args:
      model: `onnx.ModelProto`, with annotated shapes.
      helpers: the package onnx.
    """
    graph = _Graph(model, helpers)
    graph.drop_identities()
    graph.compute_constants()
    graph.name_activations()
    graph.settle_shapes()
    graph.join_normalisation()
    while graph.fold_biases() or graph.raise_activations() or graph.cancel_layouts():
        pass
    graph.write()


# Operator → function of a constant, of the second input, and of the node.
_OF_CONSTANTS: Mapping[str, Callable[[np.ndarray, Any, Any], np.ndarray]] = {
    "Transpose": lambda value, _, node: value.transpose(_permutation(node)),
    "Reshape": lambda value, shape, _: value.reshape([n or value.shape[axis] for axis, n in enumerate(shape)]),
    "Squeeze": lambda value, axes, _: value.squeeze(tuple(axes)),
    "Unsqueeze": lambda value, axes, _: np.expand_dims(value, tuple(axes)),
}


class _Graph:
    """Nodes of a graph with their producers and consumers."""

    def __init__(self, model: Any, helpers: Any):
        self._model, self._numpy, self._make = model, helpers.numpy_helper, helpers.helper.make_node
        self._nodes = list(model.graph.node)
        self._arrays = {array.name: array for array in model.graph.initializer}
        # What graphs inside of nodes read keeps its name, too.
        self._outputs = {value.name for value in model.graph.output} | {n for node in self._nodes for n in _outer(node)}
        values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
        self._shapes: Mapping[str, Shape] = {value.name: _shape_of(value) for value in values}
        self._connect()

    def _connect(self) -> None:
        self._made = {name: node for node in self._nodes for name in node.output}
        self._read: dict[str, list[Any]] = defaultdict(list)
        for node in self._nodes:
            for name in node.input:
                self._read[name].append(node)

    def _prune(self) -> None:
        """Drop nodes and arrays of which nothing is made."""
        used, nodes = set(self._outputs), []
        for node in reversed(self._nodes):
            if used & set(node.output):
                nodes.append(node)
                used |= set(node.input)
        self._nodes = nodes[::-1]
        self._arrays = {name: array for name, array in self._arrays.items() if name in used}
        self._connect()

    def write(self) -> None:
        """Put the nodes and arrays back into the model."""
        self._prune()
        graph = self._model.graph
        del graph.node[:], graph.initializer[:]
        graph.node.extend(self._nodes)
        graph.initializer.extend(self._arrays.values())

    def drop_identities(self) -> None:
        """Remove nodes that do nothing, and what products have in the place of a bias, multiplied by 0."""
        for node in list(self._nodes):
            if node.op_type == "Identity" and node.output[0] not in self._outputs:
                self._drop(node, node.input[0])
            elif node.op_type == "Gemm" and len(node.input) > 2 and _number(node, "beta") == 0:
                del node.input[2]
                kept = [attribute for attribute in node.attribute if attribute.name != "beta"]
                del node.attribute[:]
                node.attribute.extend(kept)

    def compute_constants(self) -> None:
        """Compute what only gives constants another shape, such as those of kernels."""
        for node in list(self._nodes):
            value = self._constant(node.input[0]) if node.op_type in _OF_CONSTANTS and len(node.output) == 1 else None
            axes = self._constant(node.input[1]) if value is not None and len(node.input) > 1 else None
            if value is None or (axes is None and node.op_type != "Transpose") or node.output[0] in self._outputs:
                continue
            value = _OF_CONSTANTS[node.op_type](value, axes, node)
            self._arrays[node.output[0]] = self._numpy.from_array(np.array(value, order="C"), node.output[0])
            self._nodes.remove(node)
        self._connect()

    def name_activations(self) -> None:
        """Call the maximum with 0 by its name, `Relu`."""
        for node in self._nodes:
            if node.op_type == "Max" and len(node.input) == 2:
                for place in (0, 1):
                    value = self._constant(node.input[place])
                    if value is not None and value.size == 1 and value.dtype == np.float32 and not value.any():
                        node.op_type = "Relu"
                        del node.input[place]
                        break

    def settle_shapes(self) -> None:
        """Give reshapes to shapes with one open size a constant, instead of what is computed from the input's shape."""
        for node in self._nodes:
            shape = self._shapes.get(node.output[0]) if node.op_type == "Reshape" else None
            if shape and shape.count(_OPEN) < 2:
                name = f"{node.output[0]}_shape"
                target = np.array(shape, np.int64)
                self._arrays[name] = self._numpy.from_array(target, name)
                node.input[1] = name
        self._connect()
        self._prune()

    def join_normalisation(self) -> None:
        """Make one product and one sum of what is done to the values of an input, channel by channel.

        Runtimes go over the last axis of a constant in one piece, and that of colours has 3 values: the constants are
        repeated over the width.
        """
        for node in [node for node in self._nodes if node.op_type == "Cast" and node.input[0] not in self._made]:
            scale, shift, chain, shape = np.ones(1), np.zeros(1), [], self._shapes.get(node.output[0], ())
            value = node.output[0]
            while len(users := self._users(value)) == 1 and users[0] is not None:
                found = self._affine(users[0], value)
                if found is None:
                    break
                scale, shift = scale * found[0], shift * found[0] + found[1]
                chain.append(users[0])
                value = users[0].output[0]
            if len(chain) < 2 or len(shape) < 3 or min(shape[-2:]) < 1 or {scale.size, shift.size} - {1, shape[-1]}:
                continue
            place = self._nodes.index(chain[0])
            for each in chain:
                self._nodes.remove(each)
            names = (node.output[0], f"{value}_scaled", value)
            for number, (operator, constant) in enumerate((("Mul", scale), ("Add", shift))):
                whole = np.broadcast_to(constant.reshape(-1), shape[-2:]).astype(np.float32)
                name = f"{names[number + 1]}_{operator}"
                self._arrays[name] = self._numpy.from_array(whole.copy(), name)
                made = self._make(operator, [names[number], name], [names[number + 1]], name=name)
                self._nodes.insert(place + number, made)
            self._connect()

    def _affine(self, node: Any, value: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Factor and summand, per channel or one, if a node does nothing else to a value than multiply or add them."""
        if node.op_type not in ("Add", "Sub", "Mul", "Div") or node.output[0] in self._outputs:
            return None
        place = list(node.input).index(value)
        constant = self._constant(node.input[1 - place])
        if constant is None or constant.size not in (1, *constant.shape[-1:]):
            return None
        if place and node.op_type in ("Sub", "Div"):
            return None
        constant, zero, one = constant.astype(np.float64).reshape(-1), np.zeros(1), np.ones(1)
        if node.op_type in ("Add", "Sub"):
            return one, constant if node.op_type == "Add" else -constant
        return constant if node.op_type == "Mul" else 1 / constant, zero

    def fold_biases(self) -> bool:
        """Add constants per channel to the biases of convolutions before them."""
        for node in self._nodes:
            if node.op_type != "Add":
                continue
            for place in (0, 1):
                added = self._constant(node.input[place])
                if added is None or added.size < 2 or added.shape[-1] != added.size:
                    continue
                layer = self._layer(node.input[1 - place], added.size)
                if layer is None or _number(layer, "beta") != 1:
                    continue
                bias = self._constant(layer.input[2]) if len(layer.input) > 2 else np.zeros(added.size, np.float32)
                if bias is None:
                    continue
                name = f"{layer.output[0]}_bias"
                self._arrays[name] = self._numpy.from_array((bias + added.reshape(-1)).astype(np.float32), name)
                del layer.input[2:]
                layer.input.append(name)
                self._drop(node, node.input[1 - place])
                return True
        return False

    def raise_activations(self) -> bool:
        """Move `Relu` to the convolution of which it sees the output in another layout."""
        for place, node in enumerate(self._nodes):
            if node.op_type != "Relu" or self._made.get(node.input[0]) is None:
                continue
            first = self._made[node.input[0]]
            if first.op_type not in _LAYOUT:
                continue
            layer = self._layer(node.input[0])
            if layer is None:
                continue
            name, linear = layer.output[0], f"{layer.output[0]}_linear"
            self._rename(node.output[0], node.input[0])
            layer.output[0] = linear
            node.input[0], node.output[0] = linear, name
            del self._nodes[place]
            self._nodes.insert(self._nodes.index(layer) + 1, node)
            self._connect()
            return True
        return False

    def cancel_layouts(self) -> bool:
        """Remove reshapes to the same shape, reshapes of reshapes, and transposes of transposes that undo them."""
        for node in self._nodes:
            before = self._made.get(node.input[0]) if node.input else None
            if node.op_type == "Reshape":
                shape = self._shapes.get(node.output[0])
                if shape and shape == self._shapes.get(node.input[0]) and shape.count(_OPEN) < 2:
                    self._drop(node, node.input[0])
                    return True
                target = self._constant(node.input[1])
                if before is not None and before.op_type == "Reshape" and target is not None and (target != 0).all():
                    node.input[0] = before.input[0]
                    if not self._users(before.output[0], but=node):
                        self._nodes.remove(before)
                    self._connect()
                    return True
            elif node.op_type == "Transpose" and before is not None and before.op_type == "Transpose":
                first, second = _permutation(before), _permutation(node)
                if [first[axis] for axis in second] == list(range(len(first))):
                    self._drop(node, before.input[0])
                    if not self._users(before.output[0]):
                        self._nodes.remove(before)
                        self._connect()
                    return True
        return False

    def _layer(self, name: str, channels: int = 0) -> Any:
        """Convolution, or product, of which a value is the output in another layout that nothing else reads.

        Args:
          name: the value.
          channels: number of channels that must stay last on the way; 0: the layout does not matter.
        """
        axis = -1
        while len(self._users(name)) == 1 and (node := self._made.get(name)) is not None:
            if node.op_type == "Conv":
                return node if not channels or axis == 1 else None
            if node.op_type == "Gemm" and axis == -1:
                return node
            if node.op_type not in _LAYOUT:
                return None
            if channels and node.op_type == "Reshape":
                shapes = (self._shapes.get(each) for each in (name, node.input[0]))
                if axis != -1 or any(not shape or shape[-1] != channels for shape in shapes):
                    return None
            elif channels:
                axis = _permutation(node)[axis]
                axis = -1 if axis == len(_permutation(node)) - 1 else axis
            name = node.input[0]
        return None

    def _users(self, name: str, but: Any = None) -> list[Any]:
        """Nodes that read a value, and None for the world outside."""
        return [node for node in self._read[name] if node is not but] + [None] * (name in self._outputs)

    def _constant(self, name: str) -> np.ndarray | None:
        return self._numpy.to_array(self._arrays[name]) if name in self._arrays else None

    def _drop(self, node: Any, instead: str) -> None:
        """Remove a node; what reads its output reads another value instead."""
        self._rename(node.output[0], instead)
        self._nodes.remove(node)
        self._connect()

    def _rename(self, old: str, new: str) -> None:
        for node in self._read[old]:
            for place, name in enumerate(node.input):
                if name == old:
                    node.input[place] = new
        if old in self._outputs:  # an output keeps its name
            producer = self._made[new]
            producer.output[list(producer.output).index(new)] = old
            for node in self._nodes:
                for place, name in enumerate(node.input):
                    if name == new:
                        node.input[place] = old


def _outer(node: Any) -> set[str]:
    """Values that the graphs inside of a node, such as the body of a loop, read from outside."""
    inside = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    return {name for graph in inside for inner in graph.node for name in (*inner.input, *_outer(inner))}


def _permutation(node: Any) -> list[int]:
    return next(list(attribute.ints) for attribute in node.attribute if attribute.name == "perm")


def _number(node: Any, name: str, default: float = 1.0) -> float:
    """Value of an attribute that is a number."""
    return next((attribute.f for attribute in node.attribute if attribute.name == name), default)


def _shape_of(value: Any) -> Shape:
    """Annotated shape; () where it is unknown."""
    sizes = [_OPEN if size.dim_param else size.dim_value for size in value.type.tensor_type.shape.dim]
    return tuple(sizes) if all(sizes) else ()
