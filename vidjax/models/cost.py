"""Cost of a model without running it: parameters, multiply-adds, activations, in total and per layer.

Counted from the traced computation with abstract arrays, so that the largest model takes seconds and no memory.
Multiply-adds are those of convolutions and matrix products (attention's among them), whatever formulation the backend
would choose; "GFLOPs" in papers on video models are these, in units of 10⁹. Norms, activations and pooling are not
counted.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.interpreters import partial_eval

from vidjax.config import Spec
from vidjax.models.base import VideoNetwork
from vidjax.models.calls import intercepted, module_paths
from vidjax.models.registry import abstract_model, get_spec
from vidjax.models.state import split
from vidjax.nn.conv import conv_formulation
from vidjax.nn.target_backend import targeting


@dataclass(frozen=True)
class Layer:
    """Cost of one module of a model, including everything inside it."""

    path: str  # attributes and list indices, joined by dots; "" for the model itself
    parent: str | None  # path of the enclosing module; None for the model itself
    kind: str  # name of its class
    output: tuple[int, ...]  # shape of the output of its last call; () if it was not called
    params: int
    macs: int
    calls: int  # number of calls: 0 for a module from which another one only takes parameters


@dataclass(frozen=True)
class Cost:
    """Cost of a model for one view.

    `activations` counts the output elements of convolutions and matrix products, as Radosavovic et al. do
    (2003.13678).
    """

    input: tuple[int, ...]  # (T, H, W, C)
    params: int
    macs: int
    activations: int
    layers: tuple[Layer, ...]  # in the order of their first calls, each before its parts

    @property
    def gmacs(self) -> float:
        return self.macs / 1e9


def model_cost(
    name: str,
    *,
    num_classes: int | None = None,
    num_frames: int | None = None,
    size: int | None = None,
    **kwargs: Any,
) -> Cost:
    """Cost of a named model for one clip.

    Args:
      name: name of a model, one of `list_models()`.
      num_classes: K, number of classes; None: that of the published checkpoint.
      num_frames: T, frames of the clip; None: the spec's.
      size: height and width, pixels; None: the spec's.
      **kwargs: further arguments of the model's constructor.

    Raises:
      UnknownModelError: if no model has that name; the message names similar ones.
    """
    spec = get_spec(name, kwargs)
    changes = {key: value for key, value in (("num_frames", num_frames), ("size", size)) if value}
    spec = spec.with_video(**changes) if changes else spec
    return module_cost(abstract_model(name, num_classes=num_classes, **kwargs), shapes_of(spec))


def shapes_of(spec: Spec) -> dict[str, tuple[int, ...]]:
    """Shapes of a network's inputs for one clip, by name."""
    return {name: value.shape for name, value in spec.inputs.items()}


def module_cost(model: nnx.Module, shapes: tuple[int, ...] | Mapping[str, tuple[int, ...]]) -> Cost:
    """Cost of a model for one clip.

    Args:
      model: model, real or abstract (`nnx.eval_shape`), in evaluation mode.
      shapes: shape of the network's input for one clip, such as (T, H, W, C), or those of its inputs by name, of which
        the first stands in the result.
    """
    shape = next(iter(shapes.values())) if isinstance(shapes, Mapping) else shapes
    graphdef, state = nnx.split(model)
    calls: dict[str, tuple[int, ...]] = {}
    counts: dict[str, int] = defaultdict(int)

    def around(path: str, call: Callable[[], Any]) -> Any:
        """Record the module's path in the trace, its call and its output shape."""
        counts[path] += 1
        with jax.named_scope(f"module:{path}"):
            out = call()
        arrays = [leaf for leaf in jax.tree.leaves(out) if hasattr(leaf, "shape")]
        calls[path] = tuple(arrays[0].shape) if arrays else ()
        return out

    def run(state: nnx.State, inputs: Any) -> jax.Array:
        merged = nnx.merge(graphdef, state)
        with intercepted(merged, around):
            return merged(inputs)

    def one(shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((1, *shape), jnp.float32)

    inputs = {name: one(each) for name, each in shapes.items()} if isinstance(shapes, Mapping) else one(shapes)

    # In the formulation with visible products: an accelerator's kernels hide theirs.
    with targeting("cpu"), conv_formulation("native"):
        jaxpr = jax.make_jaxpr(run)(state, inputs).jaxpr
    macs: dict[str, int] = defaultdict(int)
    activations = 0
    for path, mac, elements in _products(jaxpr, (), 1):
        activations += elements
        for depth in range(len(path) + 1):
            macs[".".join(path[:depth])] += mac
    params = {path: array.size for path, array in split(model)[1].items()}
    modules = module_paths(model)
    parents = _parents(modules)
    first = {path: place for place, path in enumerate(counts)}

    def place(path: str) -> tuple[int, ...]:
        """Order of the first calls of the module and those around it, so that parts directly follow their module."""
        parent = parents[path]
        above = () if parent is None else place(parent)
        return (*above, min((n for p, n in first.items() if _inside(p, path)), default=len(first)))

    layers = tuple(
        Layer(
            path,
            parents[path],
            type(module).__name__,
            calls.get(path, ()),
            sum(n for p, n in params.items() if _inside(p, path)),
            macs[path],
            counts[path],
        )
        for path, module in sorted(modules.items(), key=lambda item: place(item[0]))
    )
    return Cost(shape, sum(params.values()), macs[""], activations, layers)


def traced_macs(model: nnx.Module, run: Callable[..., Any], *arrays: Any) -> tuple[int, Any]:
    """Multiply-adds of a function of a model; what its results do not need is not counted.

    Args:
      model: model, real or abstract, in evaluation mode.
      run: function of the model and the arrays.
      *arrays: trees of shapes.

    Returns:
      The multiply-adds, and the shapes of the function's results.
    """
    graphdef, state = nnx.split(model)
    with targeting("cpu"), conv_formulation("native"):
        closed, shapes = jax.make_jaxpr(
            lambda state, *given: run(nnx.merge(graphdef, state), *given), return_shape=True
        )(state, *arrays)
    jaxpr, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    return sum(macs for _, macs, _ in _products(jaxpr, (), 1)), shapes


def training_macs(model: nnx.Module, cost: Cost, passes: int = 3) -> int:
    """Multiply-adds of one clip in a training step.

    Args:
      model: model to train. Parameters named by its attribute `frozen` only run forward.
      cost: cost of the forward pass.
      passes: passes through the trained part: one forward, two for the gradients of each product's inputs, and one more
        if it is recomputed.
    """
    frozen = set()
    if isinstance(model, VideoNetwork) and not model.low_rank_scale:  # pairs need the gradients of their kernels
        frozen = {prefix.removesuffix(".") for prefix in model.frozen}
    forward = sum(layer.macs for layer in cost.layers if layer.path in frozen)
    return passes * (cost.macs - forward) + forward


def _inside(path: str, outer: str) -> bool:
    return not outer or path == outer or path.startswith(f"{outer}.")


def _parents(paths: Iterable[str]) -> dict[str, str | None]:
    """Innermost other path around each path."""
    ordered = sorted(paths, key=len)
    return {path: next((p for p in reversed(ordered) if p != path and _inside(path, p)), None) for path in ordered}


def _products(jaxpr: Any, path: tuple[str, ...], times: int) -> Iterator[tuple[tuple[str, ...], int, int]]:
    """Yield `(path of the innermost module, multiply-adds, output elements)` of each convolution and matrix product."""
    for eqn in jaxpr.eqns:
        here = _innermost(str(eqn.source_info.name_stack), path)
        if eqn.primitive.name in ("dot_general", "conv_general_dilated"):
            elements = math.prod(eqn.outvars[0].aval.shape)
            yield here, times * elements * product_depth(eqn), times * elements
            continue
        inner = times * eqn.params["length"] if eqn.primitive.name == "scan" else times
        for sub in inner_jaxprs(eqn):
            yield from _products(sub, here, inner)


def _innermost(stack: str, path: tuple[str, ...]) -> tuple[str, ...]:
    found = [part.removeprefix("module:") for part in stack.split("/") if part.startswith("module:")]
    return tuple(found[-1].split(".")) if found and found[-1] else path


def product_depth(eqn: Any) -> int:
    """Multiply-adds per output element of a product."""
    left, right = (var.aval.shape for var in eqn.invars[:2])
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return math.prod(left[axis] for axis in contracted)
    out_features = right[eqn.params["dimension_numbers"].rhs_spec[0]]
    return math.prod(right) // out_features


def inner_jaxprs(eqn: Any) -> Iterator[Any]:
    """Computations inside an equation; for a condition only the first branch, as all do the same kind of work."""
    if eqn.primitive.name == "cond":
        yield eqn.params["branches"][0].jaxpr
        return
    for name, value in eqn.params.items():
        if name in ("fwd_jaxpr_thunk", "bwd", "jvp_jaxpr_fun"):
            continue
        if hasattr(value, "eqns"):
            yield value
        elif hasattr(value, "jaxpr"):
            yield value.jaxpr
