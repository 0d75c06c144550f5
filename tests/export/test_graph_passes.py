"""Graphs with channels last: biases and activations move to convolutions, layouts cancel out, outputs stay."""

from collections import Counter

import numpy as np

from tests.peers import needs
from vidjax.export.graph_passes import simplify

onnx = needs("onnx")
onnxruntime = needs("onnxruntime")

LAST, FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


class Graph:
    """A graph under construction."""

    def __init__(self):
        self.nodes, self.arrays, self.values = [], [], []
        self.rng = np.random.default_rng(0)

    def constant(self, array):
        name = f"constant_{len(self.arrays)}"
        self.arrays.append(onnx.numpy_helper.from_array(np.asarray(array), name))
        return name

    def add(self, operator, *inputs, shape=None, out=None, **attributes):
        out = out or f"{operator}_{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(operator, inputs, [out], **attributes))
        if shape:
            self.values.append(onnx.helper.make_tensor_value_info(out, 1, shape))
        return out

    def convolution(self, x, features, bias):
        """A convolution of `(B, 2, 4, 4, C)` with time in the batch, as it is traced: reshapes and transposes."""
        x = self.add("Reshape", x, self.constant(np.array([-1, 4, 4, 3])), shape=["folded", 4, 4, 3])
        x = self.add("Transpose", x, perm=FIRST, shape=["folded", 3, 4, 4])
        kernel = self.constant(self.rng.standard_normal((features, 3, 3, 3)).astype(np.float32))
        x = self.add("Conv", x, kernel, pads=[1, 1, 1, 1], shape=["folded", features, 4, 4])
        x = self.add("Transpose", x, perm=LAST, shape=["folded", 4, 4, features])
        x = self.add("Identity", x, shape=["folded", 4, 4, features])
        x = self.add("Reshape", x, self.constant(np.array([-1, 2, 4, 4, features])), shape=["B", 2, 4, 4, features])
        return self.add("Add", x, self.constant(bias), shape=["B", 2, 4, 4, features])

    def model(self, output, shape):
        info = onnx.helper.make_tensor_value_info
        graph = onnx.helper.make_graph(
            self.nodes, "g", [info("x", 1, ["B", 2, 4, 4, 3])], [info(output, 1, shape)], self.arrays,
            value_info=self.values,
        )  # fmt: skip
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


def run(model, x):
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


def test_two_convolutions_become_neighbours():
    graph = Graph()
    bias = np.arange(3, dtype=np.float32).reshape(1, 1, 1, 1, 3)
    zero = graph.constant(np.float32(0))
    x = graph.add("Max", graph.convolution("x", 3, bias), zero, shape=["B", 2, 4, 4, 3])
    graph.add("Max", graph.convolution(x, 3, -bias), zero, out="y")
    model = graph.model("y", ["B", 2, 4, 4, 3])
    clips = np.random.default_rng(1).standard_normal((3, 2, 4, 4, 3)).astype(np.float32)
    before = run(model, clips)
    simplify(model, onnx)
    np.testing.assert_allclose(run(model, clips), before, rtol=1e-5, atol=1e-5)
    operators = [node.op_type for node in model.graph.node]
    middle = operators[operators.index("Conv") : len(operators) - operators[::-1].index("Conv")]
    assert middle == ["Conv", "Relu", "Conv"]
    assert Counter(operators)["Relu"] == 2 and not {"Add", "Max", "Identity"} & set(operators)


def test_what_others_read_stays():
    """A convolution of which the output without the bias is used too, and a bias that is none: one value per column."""
    graph = Graph()
    x = graph.convolution("x", 3, np.arange(3, dtype=np.float32).reshape(1, 1, 1, 1, 3))
    before = graph.nodes[-1].input[0]
    x = graph.add("Add", x, before, shape=["B", 2, 4, 4, 3])
    graph.add("Add", graph.convolution(x, 3, np.arange(4, dtype=np.float32).reshape(1, 1, 1, 4, 1)), before, out="y")
    model = graph.model("y", ["B", 2, 4, 4, 3])
    clips = np.random.default_rng(1).standard_normal((2, 2, 4, 4, 3)).astype(np.float32)
    wanted = run(model, clips)
    simplify(model, onnx)
    np.testing.assert_allclose(run(model, clips), wanted, rtol=1e-5, atol=1e-5)
    assert Counter(node.op_type for node in model.graph.node)["Add"] == 4


def test_a_product_gets_its_bias():
    graph, rng = Graph(), np.random.default_rng(0)
    x = graph.add("Reshape", "x", graph.constant(np.array([-1, 96])), shape=["B", 96])
    kernel = graph.constant(rng.standard_normal((96, 5)).astype(np.float32))
    x = graph.add("Gemm", x, kernel, graph.constant(np.float32(7)), shape=["B", 5], beta=0.0)
    graph.add("Add", x, graph.constant(np.arange(5, dtype=np.float32).reshape(1, 5)), out="y")
    model = graph.model("y", ["B", 5])
    clips = rng.standard_normal((2, 2, 4, 4, 3)).astype(np.float32)
    wanted = run(model, clips)
    simplify(model, onnx)
    np.testing.assert_allclose(run(model, clips), wanted, rtol=1e-5, atol=1e-5)
    assert [node.op_type for node in model.graph.node] == ["Reshape", "Gemm"]
