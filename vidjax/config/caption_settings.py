"""The settings under `task.caption`: how captions and answers are made in evaluation."""

from dataclasses import dataclass

from vidjax.config.fields import anything, at_least
from vidjax.config.section import Section


@dataclass
class CaptionConfig(Section, path="task.caption"):
    """Captions of videos, and answers to questions about them."""

    evaluated = ("length", "beams", "length_power")

    length: int = at_least(1, 20, "Most tokens of a caption or an answer, that of the end included.")
    beams: int = at_least(1, 1, "Beams of the search for the most probable caption; 1: the best word at every place.")
    length_power: float = anything(
        1.0, "Exponent of a caption's length, by which the log-probability of a beam is divided."
    )
