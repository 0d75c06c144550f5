"""Sizes along time, height and width: of kernels, strides and windows, and of tokens."""

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")

Triple = tuple[int, int, int]  # (t, h, w), in pixels and frames or in places of a map
Grid = Triple  # tokens along T, H and W


def triple_of(values: Iterable[T]) -> tuple[T, T, T]:
    """What there is along T, H and W, such as sizes from an array's shape, as a tuple of three.

    Raises:
      ValueError: if there are not three.
    """
    t, h, w = values
    return t, h, w
