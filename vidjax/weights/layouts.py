"""Transforms between the array layouts of other frameworks and vidjax's."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Transform:
    """An invertible transform from source arrays to a parameter.

    `forward(*arrays)` takes as many arrays as the rule has keys and gives the parameter; `inverse(array)` gives them
    back as a tuple. Both raise ValueError for arrays of an unsuitable shape.
    """

    name: str
    forward: Callable[..., np.ndarray]
    inverse: Callable[[np.ndarray], tuple[np.ndarray, ...]]


def _permuted(name: str, order: tuple[int, ...]) -> Transform:
    back = tuple(int(i) for i in np.argsort(order))
    return Transform(name, lambda x: np.transpose(x, order), lambda x: (np.transpose(x, back),))


def joined(parts: int, then: Transform) -> Transform:
    """Transform that joins `parts` equally shaped arrays along their first axis (outputs), then applies `then`."""

    def forward(*arrays: np.ndarray) -> np.ndarray:
        if len({a.shape for a in arrays}) != 1:
            raise ValueError(f"the arrays to join must have one shape, not {', '.join(dims(a.shape) for a in arrays)}")
        return then.forward(np.concatenate(arrays))

    return Transform(f"{parts} joined, {then.name}", forward, lambda x: tuple(np.split(then.inverse(x)[0], parts)))


COPY = Transform("copy", lambda x: x, lambda x: (x,))
LINEAR = _permuted("O·I → I·O", (1, 0))
CONV3D = _permuted("O·I·T·H·W → T·H·W·I·O", (2, 3, 4, 1, 0))
# A 2D kernel as a 3D one of temporal extent 1.
CONV2D = Transform(
    "O·I·H·W → 1·H·W·I·O", lambda x: np.transpose(x, (2, 3, 1, 0))[None], lambda x: (np.transpose(x[0], (3, 2, 0, 1)),)
)
# A convolution of one pixel and frame as a dense layer.
POINTWISE = Transform(
    "O·I·1·1·1 → I·O", lambda x: np.squeeze(x, (2, 3, 4)).T, lambda x: (np.expand_dims(x.T, (2, 3, 4)),)
)
# The same of an image network.
POINTWISE2D = Transform("O·I·1·1 → I·O", lambda x: np.squeeze(x, (2, 3)).T, lambda x: (np.expand_dims(x.T, (2, 3)),))
# A convolution along time as a 3D one, and one of a single place as a dense layer.
CONV1D = Transform(
    "O·I·T → T·1·1·I·O", lambda x: np.transpose(x, (2, 1, 0))[:, None, None], lambda x: (np.transpose(x[:, 0, 0]),)
)
POINTWISE1D = Transform("O·I·1 → I·O", lambda x: np.squeeze(x, 2).T, lambda x: (x.T[..., None],))
# Values of channels, stored with axes of length 1 around them.
CHANNELS = Transform("1·C·1 → C", lambda x: np.squeeze(x, (0, 2)), lambda x: (x[None, :, None],))
# A token, or a table of tokens, with axes of length 1 before its own.
TOKEN = Transform("D → 1·1·D", lambda x: x.reshape(1, 1, *x.shape), lambda x: (x[0, 0],))
TOKENS = Transform("N·D → 1·N·D", lambda x: x[None], lambda x: (x[0],))
QKV_LINEAR = joined(3, LINEAR)  # query, key, value (D, D) each → (D, 3·D)
QKV_BIAS = joined(3, COPY)  # query, key, value (D,) each → (3·D,)


def dims(shape: Iterable[int]) -> str:
    """A shape as text: `3x7x7`."""
    return "x".join(map(str, shape)) or "scalar"
