"""Model repositories of NVIDIA's Triton Inference Server."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from vidjax.errors import UserError
from vidjax.export.folder import CLASSES, ONNX, ExportInfo

MOST_CLIPS = 32  # of a request, and of a batch that the server makes of several

_TYPES = {
    "uint8": "TYPE_UINT8", "int8": "TYPE_INT8", "int16": "TYPE_INT16", "int32": "TYPE_INT32", "int64": "TYPE_INT64",
    "float16": "TYPE_FP16", "float32": "TYPE_FP32", "float64": "TYPE_FP64", "bool": "TYPE_BOOL",
}  # fmt: skip
# Runtime → what the configuration says of it.
_BACKENDS = {
    "onnxruntime": 'backend: "onnxruntime"\n',
    "openvino": 'backend: "onnxruntime"\n'
    'optimization { execution_accelerators { cpu_execution_accelerator: [ { name: "openvino" } ] } }\n',
    "tensorrt": 'backend: "onnxruntime"\n'
    'optimization { execution_accelerators { gpu_execution_accelerator: [ { name: "tensorrt" } ] } }\n',
}


def model_name(out: str | Path) -> str:
    """Name of a model in a repository, from the name of the folder of its export."""
    return re.sub(r"[^\w-]", "_", Path(out).absolute().name)


def check_repository(repository: str | Path, name: str) -> None:
    """Check that a model of that name can be written.

    Raises:
      UserError: if one is there.
    """
    if (Path(repository).expanduser() / name).exists():
        raise UserError(f"{Path(repository) / name} is there already; choose another repository, or remove it")


def write_repository(repository: str | Path, name: str, folder: Path, info: ExportInfo) -> Path:
    """Write a model to a repository: `config.pbtxt`, the class names, and version 1; returns its folder.

    Args:
      repository: folder of the models.
      name: name of the model.
      folder: folder of the exported ONNX file.
      info: its description.
    """
    model = Path(repository).expanduser() / name
    version = model / "1"
    version.mkdir(parents=True)
    for file in (ONNX, f"{ONNX}.data"):
        if (folder / file).exists():
            shutil.copy2(folder / file, version / file)
    if (folder / CLASSES).exists():
        shutil.copy2(folder / CLASSES, model / CLASSES)
    (model / "config.pbtxt").write_text(_config(name, info), encoding="utf-8")
    return model


def _config(name: str, info: ExportInfo) -> str:
    inputs = [_tensor(key, shape, dtype) for key, (shape, dtype) in info.inputs.items()]
    outputs = [
        _tensor(key, shape, dtype, CLASSES if key == "probabilities" else "")
        for key, (shape, dtype) in info.outputs.items()
    ]
    listed = [",\n".join(tensors) for tensors in (inputs, outputs)]
    return (
        f'name: "{name}"\n{_BACKENDS[info.target]}max_batch_size: {MOST_CLIPS}\n'
        f"input [\n{listed[0]}\n]\noutput [\n{listed[1]}\n]\ndynamic_batching {{ }}\n"
    )


def _tensor(name: str, shape: Sequence[int], dtype: str, labels: str = "") -> str:
    sizes = ", ".join(map(str, shape))
    named = f', label_filename: "{labels}"' if labels else ""
    return f'  {{ name: "{name}", data_type: {_TYPES[dtype]}, dims: [ {sizes} ]{named} }}'
