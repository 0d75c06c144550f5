"""Named detectors of objects in single pictures: `create_detector("detr_r50")`.

They find the people whose actions a video network then recognises. They see no clips, have no heads for other classes
and are not trained here, so they are no models of the registry.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flax import nnx

from vidjax.models.families.detr import Detr
from vidjax.models.named import named
from vidjax.models.registry import OneKey

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DetectorSpec:
    """Detector: how it is built, what it is given, and where its weights come from.

    Attributes:
      name: name of the detector.
      build: `build(num_classes, dtype=…, rngs=…, **kwargs)` makes the network.
      paper: the paper's number on arXiv.
      origin: checkpoint whose weights it takes; empty: none is published.
      licence: licence of that checkpoint.
      num_classes: K, classes of the checkpoint.
      person: number of the class of people.
      short: short side of pictures, pixels.
      longest: most pixels of their long side.
      mean: mean of each channel of pixels in 0…1.
      std: their standard deviation.
      kwargs: arguments of `build`.
    """

    name: str
    build: Callable[..., Detr]
    paper: str
    origin: str = ""
    licence: str = ""
    num_classes: int = 91
    person: int = 1
    short: int = 800
    longest: int = 1333
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    kwargs: dict[str, Any] = field(default_factory=dict)

    def fitted(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of a picture as the network sees it: its short side is `short`, or less if the long one
        would exceed `longest`; rounded as in transformers' `DetrImageProcessor`."""
        least, most = min(height, width), max(height, width)
        short = float(self.short)
        if most / least * short > self.longest:
            short = self.longest * least / most
        if least == round(short):
            return height, width
        long = int(short * most / least)
        return (round(short), long) if height <= width else (long, round(short))


# COCO's 80 classes keep their numbers, 1 (person) to 90.
DETECTORS = {
    spec.name: spec
    for spec in (
        DetectorSpec("detr_r50", Detr, "2005.12872", "facebook/detr-resnet-50", "Apache-2.0"),
        DetectorSpec("detr_r101", Detr, "2005.12872", "facebook/detr-resnet-101", "Apache-2.0", kwargs={"layers": 101}),
        DetectorSpec(
            "detr_tiny", Detr, "2005.12872", num_classes=5, short=64, longest=96,
            kwargs={
                "depths": (1, 1, 1, 1), "width": 4, "dim": 16, "depth": 2, "heads": 2, "hidden": 24, "queries": 7,
            },
        ),
    )
}  # fmt: skip


def get_detector(name: str) -> DetectorSpec:
    """Specification of a named detector.

    Raises:
      UserError: if no detector has that name; the message names all of them.
    """
    return named(DETECTORS, name, "detector")


def create_detector(name: str, *, num_classes: int | None = None, seed: int = 0, dtype: Any = None) -> Detr:
    """Create a freshly initialised detector, in evaluation mode.

    Args:
      name: name of a detector, a key of `DETECTORS`.
      num_classes: K; None: that of the published checkpoint.
      seed: seed of the initial weights.
      dtype: dtype of activations; None: float32.

    Raises:
      UserError: if no detector has that name.
    """
    return _build(name, num_classes, dtype, nnx.Rngs(seed))


def abstract_detector(name: str, *, num_classes: int | None = None, dtype: Any = None) -> Detr:
    """Create a detector with abstract arrays (shape and dtype only), without memory or compilation.

    Raises:
      UserError: if no detector has that name.
    """
    return nnx.eval_shape(lambda: _build(name, num_classes, dtype, OneKey()))


def _build(name: str, num_classes: int | None, dtype: Any, rngs: Any) -> Detr:
    spec = get_detector(name)
    count = spec.num_classes if num_classes is None else num_classes
    network = spec.build(count, dtype=dtype, rngs=rngs, **spec.kwargs)
    network.eval()
    return network
