"""The settings under `task.retrieve`."""

from dataclasses import dataclass

from vidjax.config.fields import choice
from vidjax.config.section import Section


@dataclass
class RetrieveConfig(Section, path="task.retrieve"):
    """Finding videos by descriptions, and descriptions by videos."""

    loss: str = choice(
        "softmax",
        "sigmoid",
        help="Loss of clips and captions of a batch. softmax: a caption among all of the batch, and a clip among all "
        "(CLIP); sigmoid: each pair by itself (SigLIP), for networks with a bias (model.kwargs.biased=True).",
    )
