"""Shape and type of an input or a target in a batch. NumPy's names only: data workers load no JAX."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Field:
    """Shape and type of one array of a batch, for one view of one video.

    Attributes:
      shape: shape without the batch and view axes.
      dtype: NumPy name of the type.
      ragged: whether the length of the first axis is a maximum; shorter arrays are padded with `fill`.
      fill: padding value of ragged arrays.
      below: exclusive upper bound of integers, which start at 0; 0: unbounded.
    """

    shape: tuple[int, ...]
    dtype: str
    ragged: bool = False
    fill: float = 0.0
    below: int = 0

    def fits(self, shape: tuple[int, ...], whole: bool) -> bool:
        """Whether an array of this shape is one view of the field.

        Args:
          shape: shape without the batch and view axes.
          whole: whether a ragged axis must have its full length.
        """
        if self.ragged and not whole and shape:
            return shape[0] <= self.shape[0] and shape[1:] == self.shape[1:]
        return shape == self.shape
