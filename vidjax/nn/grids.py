"""Sizes along time, height and width: kernels, strides, windows and grids of tokens."""

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")

Triple = tuple[int, int, int]  # (t, h, w), in frames and pixels or in positions of a map
Grid = Triple  # tokens along T, H and W


def triple_of(values: Iterable[T]) -> tuple[T, T, T]:
    """Convert values along T, H and W, such as sizes of an array, to a tuple of three.

    Raises:
      ValueError: if there are not three.
    """
    t, h, w = values
    return t, h, w
