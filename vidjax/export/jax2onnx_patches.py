"""jax2onnx with what it lacks for networks of video, in one place that checks its version.

jax2onnx 0.17, as released, lacks:

- 3D `lax.conv_general_dilated` ("Unsupported conv layouts"): only its plugin for `nnx.Conv` knows 3D. Its tables of
  layouts get those of five axes here.
- Symbolic sizes where plugins pass them to `onnx_ir.Shape` as JAX's own expressions, such as strided slices and
  products of several batch axes do: `InconclusiveDimensionOperation`. They are named here.
- The primitive `tile` of JAX 0.10 ("No plugins registered"). It has a plugin here.
- Pooling over images and clips: `reduce_window` becomes a pool, or a convolution, over all axes, also those of clips
  and channels, and onnxruntime has none over more than 3 ("Unsupported pooling size"). Here it is one over space and
  time.
- Calls of flax in full: while it traces, it replaces functions of flax and `jax.numpy` by primitives of its own with
  narrower signatures (no random streams for dropout, no positional windows for pooling), and imports all its plugins
  and examples for that, with Equinox and dm-pix, 19 s of CPU. Here networks are traced as they are, to primitives of
  JAX alone, and only plugins for those are imported, 2 s.

None of this is reported there yet. A later version may need less; one that this file does not know is refused.
"""

import contextlib
import importlib
import logging
import math
import pkgutil
from collections.abc import Callable, Generator, Mapping, Sequence
from importlib import metadata
from typing import Any
from unittest import mock

import jax
import numpy as np

from vidjax.errors import UserError, install

KNOWN = "0.17."  # beginning of the versions that this file knows
OPSET = 23  # of the files; TensorRT 11 reads up to 25

_FIVE = {"activations": ("NCDHW", "NDHWC"), "kernels": ("OIDHW", "DHWIO")}
_PLUGINS = ("jax2onnx.plugins.jax.core", "jax2onnx.plugins.jax.lax")


def to_onnx(
    function: Callable[..., Sequence[jax.Array]],
    inputs: Mapping[str, jax.ShapeDtypeStruct],
    outputs: Sequence[str],
    name: str,
) -> Any:
    """Convert a function of arrays to an `onnx.ModelProto`.

    Args:
      function: function of as many arrays as there are inputs, which returns as many as there are outputs.
      inputs: shapes and types by name; the size "B" is left open.
      outputs: names of the outputs.
      name: name of the graph.

    Raises:
      UserError: if jax2onnx is missing or of another version, or cannot convert an operation, which the message names.
    """
    converter = _imported()
    try:
        with _patched():
            return converter.to_onnx(
                function, list(inputs.values()), model_name=name, opset=OPSET, input_names=list(inputs),
                output_names=list(outputs),
            )  # fmt: skip
    except Exception as error:  # its own kinds, and those of JAX and onnx_ir, have no common class
        said = " ".join(str(error).split())[:300]
        raise UserError(
            f"{name}: jax2onnx {metadata.version('jax2onnx')} cannot convert it to ONNX: {type(error).__name__}: "
            f"{said}. --format stablehlo exports every network"
        ) from error


def _imported() -> Any:
    """The package, of a known version, with its plugins for primitives of JAX."""
    try:
        version = metadata.version("jax2onnx")
        converter = importlib.import_module("jax2onnx")
        for package in map(importlib.import_module, _PLUGINS):
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{package.__name__}.{module.name}")
    except ImportError as error:
        raise UserError(f"--format onnx needs {error.name or 'jax2onnx'}: {install('export')}") from None
    if not version.startswith(KNOWN):
        raise UserError(
            f"jax2onnx {version} is installed, and vidjax/export/jax2onnx_patches.py knows versions {KNOWN}x: "
            f"{install('export')}"
        )
    return converter


@contextlib.contextmanager
def _patched() -> Generator[None, None, None]:
    from jax2onnx.converter import conversion_api
    from jax2onnx.plugins.jax.lax import conv

    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        enter(mock.patch.object(conversion_api, "_activate_plugin_worlds", contextlib.nullcontext))
        for table, (first, last) in (
            (conv._LAYOUT_MAP, _FIVE["activations"]),
            (conv._OUTPUT_LAYOUT_MAP, _FIVE["activations"]),
            (conv._FILTER_LAYOUT_MAP, _FIVE["kernels"]),
        ):
            where = {(0, 1, 2, 3, 4): first, _places(last, first): last}
            enter(mock.patch.dict(table, {first: first, last: last} | where))
        for canonical, five in (
            ("_canonical_input_layout", _FIVE["activations"][0]),
            ("_canonical_kernel_layout", _FIVE["kernels"][0]),
        ):
            enter(mock.patch.object(conv, canonical, _with_five(getattr(conv, canonical), five)))
        core = importlib.import_module("onnx_ir._core")
        convert = core._maybe_convert_to_symbolic_dim
        enter(mock.patch.object(core, "_maybe_convert_to_symbolic_dim", _naming(convert, core.SymbolicDim)))
        registry = importlib.import_module("jax2onnx.plugins.plugin_system").PLUGIN_REGISTRY
        enter(mock.patch.dict(registry, _plugins(registry)))
        enter(_quiet("onnx_ir"))
        yield


def _places(layout: str, of: str) -> tuple[int, ...]:
    """Places in `layout` of the axes in the order `of`, as in JAX's dimension numbers."""
    return tuple(layout.index(axis) for axis in of)


def _with_five(function: Callable[..., str], five: str) -> Callable[..., str]:
    def canonical(layout: str, **options: Any) -> str:
        if len(layout) == 5 and not options.get("is_transpose"):
            return five
        return function(layout, **options)

    return canonical


def _naming(convert: Callable[[Any], Any], named: Callable[[str], Any]) -> Callable[[Any], Any]:
    def with_names(dim: Any) -> Any:
        return named(str(dim)) if jax.export.is_symbolic_dim(dim) else convert(dim)

    return with_names


def _plugins(registry: Mapping[str, Any]) -> dict[str, Any]:
    """Plugins of our own, by the primitive."""
    from jax2onnx.plugins._ir_shapes import _ensure_value_metadata, _stamp_type_and_shape
    from jax2onnx.plugins.jax.lax._index_utils import _const_i64
    from jax2onnx.plugins.plugin_system import PrimitiveLeafPlugin

    def made(ctx: Any, operator: str, inputs: Sequence[Any], shape: Sequence[Any], **attributes: Any) -> Any:
        """Value that an operator gives, of the type of its first input."""
        result = getattr(ctx.builder, operator)(*inputs, _outputs=[ctx.fresh_name(operator.lower())], **attributes)
        result.type = inputs[0].type
        _stamp_type_and_shape(result, tuple(shape))
        _ensure_value_metadata(ctx, result)
        return result

    class Tile(PrimitiveLeafPlugin):
        """`tile` as the operator `Tile`."""

        def lower(self, ctx: Any, eqn: Any) -> None:
            (given,), (wanted,) = eqn.invars, eqn.outvars
            value = ctx.get_value_for_var(given, name_hint=ctx.fresh_name("tile_in"))
            times = list(eqn.params["reps"])
            if any(map(jax.export.is_symbolic_dim, times)):
                times = ctx.dim_expr_lowerer(times)
            else:
                times = _const_i64(ctx, times, name_hint="tile_reps")
            ctx.bind_value_for_var(wanted, made(ctx, "Tile", [value, times], wanted.aval.shape))

    class Pool(PrimitiveLeafPlugin):
        """`reduce_window` of arrays with channels last as a pool over the axes between clips and channels."""

        def __init__(self, operator: str, usual: Any):
            self.operator, self.usual = operator, usual

        def lower(self, ctx: Any, eqn: Any) -> None:
            (given,), (wanted,) = eqn.invars, eqn.outvars
            window, strides = eqn.params["window_dimensions"], eqn.params["window_strides"]
            pads, last = eqn.params["padding"], len(window) - 1
            dilated = any(step != 1 for name in ("base_dilation", "window_dilation") for step in eqn.params[name])
            outer = [(window[axis], strides[axis], *pads[axis]) for axis in (0, last)]
            if last < 2 or dilated or any(each != (1, 1, 0, 0) for each in outer):
                return self.usual.lower(ctx, eqn)
            value = ctx.get_value_for_var(given, name_hint=ctx.fresh_name("pool_in"))
            first, back = [0, last, *range(1, last)], [0, *range(2, last + 1), 1]
            moved = made(ctx, "Transpose", [value], [given.aval.shape[axis] for axis in first], perm=first)
            options = {"kernel_shape": window[1:-1], "strides": strides[1:-1]}
            options["pads"] = [low for low, _ in pads[1:-1]] + [high for _, high in pads[1:-1]]
            options |= {"count_include_pad": 1} if self.operator == "AveragePool" else {}
            shape = [wanted.aval.shape[axis] for axis in first]
            result = made(ctx, self.operator, [moved], shape, **options)
            if self.operator == "AveragePool":
                size = np.asarray(math.prod(window), given.aval.dtype)
                number = ctx.builder.add_initializer_from_array(name=ctx.fresh_name("pool_size"), array=size)
                result = made(ctx, "Mul", [result, number], shape)
            ctx.bind_value_for_var(wanted, made(ctx, "Transpose", [result], wanted.aval.shape, perm=back))

    pools = {"reduce_window_max": "MaxPool", "reduce_window_sum": "AveragePool"}
    return {"tile": Tile(), **{name: Pool(operator, registry[name]) for name, operator in pools.items()}}


@contextlib.contextmanager
def _quiet(logger: str) -> Generator[None, None, None]:
    """Context without the warnings of a logger, here those of annotations that no file needs."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
