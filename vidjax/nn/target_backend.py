"""Target device of a traced computation: JAX's own, or another one to compile for ahead of time."""

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import jax


@dataclass(frozen=True)
class Target:
    """Device that formulations are chosen for.

    Attributes:
      backend: "cpu", "gpu" or "tpu"; "onnx" for a graph that another runtime reads.
      kind: the device's own name, such as "TPU v5 lite" or "NVIDIA H100 80GB HBM3"; "": unknown.
      capability: NVIDIA's compute capability, such as 9.0; 0: no such GPU, or unknown.
    """

    backend: str
    kind: str = ""
    capability: float = 0.0


# JAX's own kind of context: its cache keeps the traces for different targets apart.
_target = jax.make_user_context(default_value=None)


@contextlib.contextmanager
def targeting(name: str | None, device: Any = None) -> Generator[None, None, None]:
    """Context in which traced code targets a backend other than JAX's own.

    It decides the formulations of layers and the meaning of `config.model.compute_dtype = "auto"`, not where code is
    compiled or run.

    Args:
      name: backend, "cpu", "gpu", "tpu" or "onnx"; None: JAX's own backend.
      device: one of the devices to compile for; None: unknown, only features common to all are used.
    """
    with _target(None if name is None else _described(name, device)):
        yield


def backend() -> str:
    """Backend that a computation is being traced for: "cpu", "gpu", "tpu" or "onnx"."""
    return target().backend


def target() -> Target:
    """Device that a computation is being traced for."""
    return _target.value or _described(jax.default_backend(), jax.local_devices()[0])


def apart(x: jax.Array) -> jax.Array:
    """Return `x`, on GPUs not fused with its consumers, and likewise its gradient.

    XLA fuses a product with the slices, pads and joints around it, and fails to compile if it then finds no tiling.
    Whether it does depends on the sizes.
    """
    return jax.lax.optimization_barrier(x) if backend() == "gpu" else x


def _described(name: str, device: Any) -> Target:
    # AMD's devices name an architecture such as "gfx90a" in place of a compute capability.
    capability = str(getattr(device, "compute_capability", ""))
    known = capability.replace(".", "", 1).isdigit()
    return Target(name, getattr(device, "device_kind", ""), float(capability) if known else 0.0)
