"""ONNX files: written from a trained network, and run by onnxruntime."""

import importlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vidjax.errors import UserError, install
from vidjax.export.folder import ONNX
from vidjax.export.graph_passes import simplify
from vidjax.export.jax2onnx_patches import to_onnx
from vidjax.export.program import TrainedNetwork

_MOST_BYTES = 1_500_000_000  # of a file; protocol buffers end at 2 GB


def write_onnx(folder: Path, trained: TrainedNetwork, target: str) -> Path:
    """Write a graph of a network for any number of clips; returns the file.

    Args:
      folder: folder to write to.
      trained: network to export.
      target: runtime, one of `RUNTIMES`; TensorRT has 3D convolutions, the others get 2D ones.

    Raises:
      UserError: if an extra is missing, or the network has an operation that cannot be converted.
    """
    runtime("onnx")
    runtime("onnxruntime")
    run, inputs, outputs = trained.for_inference(native=target == "tensorrt"), trained.inputs("B"), trained.outputs()

    def of_arrays(*arrays: jax.Array) -> list[jax.Array]:
        found = run(dict(zip(inputs, arrays, strict=True)))
        return [found[name] for name in outputs]

    return save(to_onnx(of_arrays, inputs, list(outputs), trained.meta.spec.name), folder / ONNX)


def save(model: Any, file: Path) -> Path:
    """Write a graph, without annotated shapes and with constants computed; returns the file.

    What a large graph holds in arrays goes to a file beside it.
    """
    onnx = runtime("onnx")
    simplify(model, onnx)
    # Annotations of convolutions may contradict each other, which quantisers refuse; runtimes find shapes themselves.
    del model.graph.value_info[:]
    large = model.ByteSize() > _MOST_BYTES
    onnx.save(model, file, save_as_external_data=large, location=f"{file.name}.data")
    if not large:
        _compute_constants(file)
    return file


def _compute_constants(file: Path) -> None:
    """Replace what does not depend on inputs by its value, such as transposed kernels, and drop needless transposes."""
    module = runtime("onnxruntime")
    options = session_options(module)
    options.graph_optimization_level = module.GraphOptimizationLevel.ORT_ENABLE_BASIC  # standard operators alone
    whole = file.with_suffix(".tmp")
    options.optimized_model_filepath = os.fspath(whole)
    module.InferenceSession(os.fspath(file), options, providers=["CPUExecutionProvider"])
    whole.replace(file)


def session_options(module: Any, threads: int = 0) -> Any:
    """Options of a session of onnxruntime that says nothing but errors.

    Args:
      module: the package.
      threads: number of threads; 0: all cores.
    """
    options = module.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    # Threads that wait would use the cores that others decode on.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def read_onnx(file: Path, target: str = "onnxruntime", threads: int = 0) -> Callable[[Mapping[str, Any]], dict]:
    """Open a graph in onnxruntime: inputs as read → answers, by name.

    Args:
      file: the file.
      target: runtime that it was made for; that for TensorRT runs on NVIDIA GPUs where onnxruntime has them.
      threads: number of threads; 0: all cores.

    Raises:
      UserError: if onnxruntime is missing or cannot read the file.
    """
    module = runtime("onnxruntime")
    providers = module.get_available_providers() if target == "tensorrt" else ["CPUExecutionProvider"]
    try:
        session = module.InferenceSession(os.fspath(file), session_options(module, threads), providers=providers)
    except Exception as error:  # onnxruntime's own kinds have no common class
        raise UserError(f"{file}: onnxruntime cannot read it: {error}; export the run again") from None
    names = [value.name for value in session.get_outputs()]

    def run(inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        given = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        return dict(zip(names, session.run(names, given), strict=True))

    return run


def runtime(name: str) -> Any:
    """Import a package of the extra.

    Raises:
      UserError: if it is missing.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"ONNX files need {name}: {install('export')}") from None
