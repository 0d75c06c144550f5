"""Which backend a computation is traced for: what JAX runs on, or another one that it is compiled for ahead of time."""

import contextlib
from collections.abc import Iterator

import jax

# A context of JAX's own: what was traced for one backend is not taken from the cache for another.
_target = jax.make_user_context(default_value=None)


@contextlib.contextmanager
def targeting(name: str | None) -> Iterator[None]:
    """Within this context, what is traced is meant for the backend `name`, "cpu", "gpu" or "tpu"; None: JAX's own.

    It decides which formulations the layers choose and what `config.model.compute_dtype = "auto"` means, not where
    anything is compiled or run.
    """
    with _target(name):
        yield


def backend() -> str:
    """The backend that a computation is being traced for: "cpu", "gpu" or "tpu"."""
    return _target.value or jax.default_backend()
