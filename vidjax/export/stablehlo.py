"""StableHLO programs, one per platform, with the weights as an argument."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np
from safetensors.numpy import load_file, save_file

from vidjax.errors import UserError
from vidjax.export.folder import PLATFORMS, WEIGHTS
from vidjax.export.program import TrainedNetwork
from vidjax.nn.target_backend import targeting


def write_programs(folder: Path, trained: TrainedNetwork, platforms: Sequence[str]) -> None:
    """Write a program per platform, for any number of clips, and the weights.

    Each is traced for its platform, as formulations of layers differ.

    Args:
      folder: folder to write to.
      trained: network to export.
      platforms: names in `PLATFORMS`.
    """
    save_file({path: np.ascontiguousarray(array) for path, array in trained.weights.items()}, folder / WEIGHTS)
    weights = {path: jax.ShapeDtypeStruct(array.shape, array.dtype) for path, array in trained.weights.items()}
    (batch,) = jax.export.symbolic_shape("b")
    for platform in platforms:
        target = PLATFORMS[platform]
        run = trained.by_platform(target)
        with targeting(target):
            exported = jax.export.export(jax.jit(run), platforms=[platform])(weights, trained.inputs(batch))
        program_file(folder, platform).write_bytes(exported.serialize())


def program_file(folder: Path, platform: str) -> Path:
    """File of a platform's program."""
    return folder / f"{platform}.stablehlo"


def read_program(folder: Path, platforms: Sequence[str]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Read the program for the platform at hand: inputs as read → answers, by name.

    Args:
      folder: folder of the export.
      platforms: platforms that it has programs for.

    Raises:
      UserError: if there is none for this platform, or this version of JAX does not read it.
    """
    backend = jax.default_backend()
    platform = next((name for name, target in PLATFORMS.items() if target == backend), backend)
    if platform not in platforms:
        raise UserError(
            f"{folder} has programs for {', '.join(platforms)}, and JAX runs on {platform} here: export it with "
            f"--platforms {platform}, or set JAX_PLATFORMS"
        )
    file = program_file(folder, platform)
    try:
        exported = jax.export.deserialize(bytearray(file.read_bytes()))
        weights = jax.device_put(load_file(folder / WEIGHTS))
        call = jax.jit(exported.call)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{file}: JAX {jax.__version__} does not read it ({error}). Programs can be read by versions up to 6 "
            "months newer: export the run again"
        ) from None
    return lambda inputs: call(weights, dict(inputs))
