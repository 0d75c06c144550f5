"""What the networks of a task answer about single files, for a server that knows no task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np
from flax import nnx

# Inputs of the views of a file by name, `(V, …)`, and what else an answer needs of it.
Read = tuple[Mapping[str, np.ndarray], Any]


class Answer(Protocol):
    """An answer about a file."""

    @property
    def summary(self) -> str:
        """What it is, for people."""
        ...

    @property
    def schema(self) -> Mapping[str, Any]:
        """JSON schema of the answer."""
        ...

    @property
    def fields(self) -> Mapping[str, Mapping[str, Any]]:
        """JSON schemas of what a client may give beside the file, all of it text, by name."""
        ...

    def read(self, path: str, given: Mapping[str, str]) -> Read:
        """Read the views of a file that the answer needs.

        Args:
          path: the file.
          given: fields that the client has given, by name.

        Raises:
          VideoError: if it cannot be read.
          UserError: if a field cannot be used, or is missing; the message is for the client.
        """
        ...

    def of(self, read: Read, outputs: np.ndarray) -> dict[str, Any]:
        """The answer, as plain values for JSON, from what was read of a file and the outputs for its views."""
        ...


@dataclass(frozen=True)
class ServiceLimits:
    """Limits of what one file may take.

    Attributes:
      views: most views.
      bytes: most memory of the views.
      seconds: most time for reading them.
      top: most classes told.
    """

    views: int
    bytes: int
    seconds: float
    top: int


@dataclass(frozen=True)
class Service:
    """Answers of a network, which share one pass through it.

    Attributes:
      answers: the answers by name.
      forward: function of the network, inputs as they are read, `(B, …)` by name, and numbers of the clips, to the
        outputs from which all answers are made, `(B, …)`.
      ranks: whether answers tell the best classes of several.
    """

    answers: Mapping[str, Answer]
    forward: Callable[[nnx.Module, Mapping[str, jax.Array], jax.Array], jax.Array]
    ranks: bool = False


def object_schema(**properties: Any) -> dict[str, Any]:
    """JSON schema of an object with these properties."""
    return {"type": "object", "properties": properties}


def list_schema(items: dict[str, Any]) -> dict[str, Any]:
    """JSON schema of a list."""
    return {"type": "array", "items": items}


# JSON schema of classes, best first.
TOP = list_schema(object_schema(**{"class": {"type": "string"}, "score": {"type": "number"}}))
