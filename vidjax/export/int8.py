"""ONNX files in int8: static quantisation with `QuantizeLinear` and `DequantizeLinear`, by onnxruntime's quantiser.

Ranges of activations come from clips of the training list. What each layer costs alone is measured on other training
clips, and the dearest stay float until the whole network is close enough. Convolutions of colours stay float where
that is faster.
"""

import contextlib
import logging
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidjax.export.clips import Clips
from vidjax.export.onnx_file import read_onnx, runtime
from vidjax.export.timing import cpu_times

_LAYERS = ("Conv", "Gemm", "MatMul")  # that have weights, and most of the multiply-adds
# What may stand between two of them: int8 goes through without becoming float.
_BETWEEN = ("Relu", "Add", "Concat", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Pad", "MaxPool")
_PREPARED = ("onnx.quant.pre_process", "onnxruntime.quant")  # tells the quantiser that constants are computed
_BATCH = 8
LOGITS = "logits"


@dataclass(frozen=True)
class Int8Settings:
    """How a graph is quantised.

    Attributes:
      symmetric: whether activations are signed with zero points of 0, as TensorRT needs them, and biases stay float.
      reduce_range: whether weights have 7 bits, for CPUs whose products of 8 bits overflow.
      tolerance: largest error of the logits, root mean square of the difference ÷ that of the logits.
      most_float: largest share of the layers that may stay float for it.
    """

    symmetric: bool = False
    reduce_range: bool = False
    tolerance: float = 0.05
    most_float: float = 0.5


@dataclass(frozen=True)
class Int8Outcome:
    """What quantising a graph has found.

    Attributes:
      errors: error of the logits where a layer alone is int8, by its name, largest first.
      kept: names of the layers that stayed float: for the error, and those of few channels if that is faster.
      error: error of the logits of the whole network.
    """

    errors: Mapping[str, float]
    kept: tuple[str, ...]
    error: float


def quantise(
    source: Path,
    out: Path,
    calibration: Clips,
    judged: Clips,
    settings: Int8Settings,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> Int8Outcome:
    """Write an int8 graph.

    Args:
      source: file of the float graph, with outputs among which are "logits".
      out: file to write.
      calibration: clips from which the ranges of activations are taken.
      judged: other clips, on which errors are measured.
      settings: how to quantise.
      told: called with the number of graphs tried so far, and of all at least.
    """
    onnx = runtime("onnx")
    model = onnx.load(source)
    _name_nodes(model)
    layers, apart = _layers(model), _apart(model, LOGITS)
    wanted = _logits(source, judged)
    with tempfile.TemporaryDirectory(prefix="vidjax-int8-") as folder, _quiet():
        prepared, tried = Path(folder) / "float.onnx", Path(folder) / "tried.onnx"
        property = model.metadata_props.add()
        property.key, property.value = _PREPARED
        onnx.save(model, prepared, save_as_external_data=model.ByteSize() > 1_500_000_000)
        make = _Quantiser(prepared, Path(folder) / "ranges.json", calibration, settings, apart)

        def error(**chosen: Sequence[str]) -> float:
            make(tried, **chosen)
            return _error(_logits(tried, judged), wanted)

        make(tried)  # calibrates
        errors = {}
        for number, layer in enumerate(layers):
            told(number, len(layers) + 1)
            errors[layer] = error(only=[layer])
        errors = dict(sorted(errors.items(), key=lambda item: -item[1]))
        kept: list[str] = []
        whole = error()
        for layer in errors:
            if whole <= settings.tolerance or len(kept) >= settings.most_float * len(layers):
                break
            kept.append(layer)
            whole = error(without=kept)
        make(out, without=kept)
        # Integer convolutions of few channels may be slower than float ones.
        few = [layer for layer in _of_few_channels(model) if layer not in kept]
        if few and not settings.symmetric:  # what TensorRT takes is not measured here
            changed = error(without=[*kept, *few])
            if _is_faster(tried, out, judged):
                kept, whole = [*kept, *few], changed
                make(out, without=kept)
    told(len(layers) + 1, len(layers) + 1)
    return Int8Outcome(errors, tuple(kept), whole)


class _Quantiser:
    """Static quantisation of one graph with ranges that are found once."""

    def __init__(self, file: Path, ranges: Path, clips: Clips, settings: Int8Settings, apart: Sequence[str]):
        self._file, self._ranges, self._clips, self._apart = file, ranges, clips, list(apart)
        self._module = runtime("onnxruntime.quantization")
        types = self._module.QuantType
        self._options = {
            "per_channel": True,
            "reduce_range": settings.reduce_range,
            "weight_type": types.QInt8,
            "activation_type": types.QInt8 if settings.symmetric else types.QUInt8,
            "op_types_to_quantize": [*_LAYERS, *_BETWEEN],
            "extra_options": {
                "ActivationSymmetric": settings.symmetric,
                "QuantizeBias": not settings.symmetric,
                "MatMulConstBOnly": True,  # the products of attention have no weights, and are few
            },
        }

    def __call__(self, out: Path, only: Sequence[str] = (), without: Sequence[str] = ()) -> None:
        """Write the graph with `only` these nodes in int8, or all but those of `without`."""
        self._module.quantize_static(
            self._file, out, _reader(self._module, self._clips), quant_format=self._module.QuantFormat.QDQ,
            nodes_to_quantize=list(only), nodes_to_exclude=[*self._apart, *without],
            calibration_cache_path=self._ranges, **self._options,
        )  # fmt: skip


def _reader(module: Any, clips: Clips) -> Any:
    class Reader(module.CalibrationDataReader):
        def __init__(self) -> None:
            self._parts: Iterator[Clips] = _parts(clips)

        def get_next(self) -> Clips | None:
            return next(self._parts, None)

    return Reader()


def _parts(clips: Clips) -> Iterator[dict[str, np.ndarray]]:
    count = len(next(iter(clips.values())))
    for start in range(0, count, _BATCH):
        yield {name: array[start : start + _BATCH] for name, array in clips.items()}


def _logits(file: Path, clips: Clips) -> np.ndarray:
    run = read_onnx(file)
    return np.concatenate([run(part)[LOGITS] for part in _parts(clips)]).astype(np.float64)


def _error(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.sqrt(np.square(found - wanted).mean() / max(np.square(wanted).mean(), 1e-30)))


def _name_nodes(model: Any) -> None:
    """Give every node a name of its own."""
    seen: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{number}"
        seen.add(node.name)


def _layers(model: Any) -> list[str]:
    """Names of the nodes with weights."""
    constants = {array.name for array in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type in _LAYERS and constants & set(node.input[1:2])]


def _of_few_channels(model: Any) -> list[str]:
    """Names of the convolutions of less than 8 channels, such as those of colours."""
    shapes, layers = {array.name: array.dims for array in model.graph.initializer}, set(_layers(model))
    convolutions = [node for node in model.graph.node if node.op_type == "Conv" and node.name in layers]
    return [node.name for node in convolutions if shapes[node.input[1]][1] < 8]


def _is_faster(file: Path, other: Path, clips: Clips) -> bool:
    """Whether a graph takes less time than another, 8 clips at a time."""
    runs = {str(each): read_onnx(each, threads=1) for each in (file, other)}
    times = cpu_times(runs, next(_parts(clips)), batches=(_BATCH,))
    return times[str(file)][str(_BATCH)] < times[str(other)][str(_BATCH)]


def _apart(model: Any, output: str) -> list[str]:
    """Names of the nodes before the first layer, such as the normalisation, and after an output, such as a softmax."""
    layers, after, below, names = set(_layers(model)), {output}, set(), []
    for node in model.graph.node:
        if after & set(node.input):
            after |= set(node.output)
            names.append(node.name)
        elif node.name in layers or below & set(node.input):
            below |= set(node.output)
        else:
            names.append(node.name)
    return names


@contextlib.contextmanager
def _quiet() -> Generator[None, None, None]:
    """Context without the remarks that the quantiser logs for every tensor."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.root.setLevel(level)


def has_vnni() -> bool:
    """Whether this CPU multiplies 8-bit integers without overflow (VNNI), as far as the system tells."""
    try:
        return "_vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
