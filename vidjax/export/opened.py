"""Exported networks, opened for use."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vidjax.errors import UserError
from vidjax.export.folder import ONNX, ExportInfo, read_info
from vidjax.export.onnx_file import read_onnx
from vidjax.export.stablehlo import read_program


class ExportedNetwork:
    """Network of a folder that `vidjax export` or `vidjax quantize` wrote.

    Args:
      folder: the folder.
      info: its description.
      threads: number of threads of onnxruntime; 0: all cores.

    Raises:
      UserError: if the program cannot be run here.
    """

    def __init__(self, folder: str | Path, info: ExportInfo, threads: int = 0):
        self.folder, self.info = Path(folder), info
        if info.kind == "onnx":
            self._run = read_onnx(self.folder / ONNX, info.target, threads)
        else:
            self._run = read_program(self.folder, info.platforms)

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Answer about B clips: inputs as read, `(B, …)` by name → answers by name."""
        return {name: np.asarray(array) for name, array in self._run(inputs).items()}

    def logits(self, params: Any, stats: Any, inputs: Mapping[str, Any], number: Any) -> np.ndarray:
        """Logits about B clips, `(B, …)`; called like a compiled network, which has its weights as arguments."""
        del params, stats, number
        return self({name: np.asarray(array) for name, array in inputs.items()})["logits"]


def open_export(folder: str | Path, threads: int = 0) -> ExportedNetwork | None:
    """Open the exported network of a folder; None: it holds none.

    Raises:
      UserError: if it is damaged, or cannot be run here.
    """
    info = read_info(folder)
    return None if info is None else ExportedNetwork(folder, info, threads)


def need_onnx(folder: str | Path, info: ExportInfo) -> None:
    """Check that an exported network is a float ONNX file.

    Raises:
      UserError: if it is StableHLO, or int8 already.
    """
    if info.kind != "onnx":
        raise UserError(
            f"{folder} holds StableHLO programs, and int8 is made of ONNX files: give the run, or --format onnx"
        )
    if info.int8 is not None:
        raise UserError(f"{folder} is int8 already: give the run, or its float export")
