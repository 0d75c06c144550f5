"""Words that all of `vidjax.data` shares: a video and what is known of it, the classes of a data set, the videos of a
split.

Annotations are plain numbers and text. Those of a `Record` name classes by number; in a `Row` of a listing (see
`vidjax.data.listing.rows`), where the numbers are not settled yet, they name them by text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, TypeVar, overload

import numpy as np

Class = TypeVar("Class", int, str)
Corners = tuple[float, float, float, float]  # left, top, right, bottom; shares of width and height


@dataclass(frozen=True)
class Labels(Generic[Class]):
    """What a whole video, or the part of it that is meant, shows: one class, several, or none of those that count."""

    kind: ClassVar[str] = "labels"
    classes: tuple[Class, ...]


@dataclass(frozen=True)
class Boxes(Generic[Class]):
    """Boxes in one frame, and what is seen in each.

    Attributes:
      at: time of the frame, seconds from the first one.
      corners: R boxes; there may be none.
      classes: R tuples of classes, those of each box.
      tracks: R numbers, the same for one person or thing over time; empty: not known.
    """

    kind: ClassVar[str] = "boxes"
    at: float
    corners: tuple[Corners, ...]
    classes: tuple[tuple[Class, ...], ...]
    tracks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Segments(Generic[Class]):
    """Parts of a long video that show something, and what; there may be none, and they may overlap.

    Attributes:
      spans: start and end in seconds from the first frame, and the class.
    """

    kind: ClassVar[str] = "segments"
    spans: tuple[tuple[float, float, Class], ...]


@dataclass(frozen=True)
class Masks:
    """Which pixels belong to which object.

    Attributes:
      path: of a folder with an indexed PNG for each annotated frame, called like the frame, or of a video of masks; a
        pixel's value is the number of its object.
      ids: numbers of the objects that count; empty: all but 0, which is the background.
    """

    kind: ClassVar[str] = "masks"
    path: str
    ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Caption:
    """One description of a video or several, each by itself."""

    kind: ClassVar[str] = "caption"
    texts: tuple[str, ...]


Annotation = Labels[Class] | Boxes[Class] | Segments[Class] | Masks | Caption
KINDS = tuple(kind.kind for kind in (Labels, Boxes, Segments, Masks, Caption))
LABELS = frozenset({Labels.kind})  # the kinds of annotations that classifying needs


def is_box(corners: Sequence[float]) -> bool:
    """Whether four numbers are the `Corners` of a box that lies within the picture."""
    left, top, right, bottom = corners
    return 0 <= left <= right <= 1 and 0 <= top <= bottom <= 1


def classes_of(annotation: Annotation | None) -> tuple:
    """The classes that an annotation names, in its order, as often as it does; () for one that names none."""
    match annotation:
        case Labels(classes):
            return classes
        case Boxes():
            return tuple(name for classes in annotation.classes for name in classes)
        case Segments(spans):
            return tuple(name for _, _, name in spans)
    return ()


@overload
def map_classes(annotation: None, to: Callable[[Any], Any]) -> None: ...
@overload
def map_classes(annotation: Annotation, to: Callable[[Any], Any]) -> Annotation: ...
def map_classes(annotation: Annotation | None, to: Callable[[Any], Any]) -> Annotation | None:
    """The same annotation with every class replaced by `to(class)`; those of a video or a box in rising order."""
    match annotation:
        case Labels(classes):
            return Labels(tuple(sorted(map(to, classes))))
        case Boxes():
            return replace(annotation, classes=tuple(tuple(sorted(map(to, c))) for c in annotation.classes))
        case Segments(spans):
            return Segments(tuple((start, end, to(name)) for start, end, name in spans))
    return annotation


@dataclass(frozen=True)
class Record:
    """One video of a data set, or one part of it.

    Attributes:
      path: of the file or of a folder of images, or the address of a stored video.
      annotation: what is known of it; None: nothing.
      group: videos of one origin share it; empty: not known.
      start, end: the part that is meant, seconds from the first frame; None: from the first one, up to the last one.
      at: the moment that is meant, seconds from the first frame, such as that of a key frame; None: no single one.
    """

    path: str
    annotation: Annotation[int] | None = None
    group: str = ""
    start: float | None = None
    end: float | None = None
    at: float | None = None

    @property
    def labels(self) -> tuple[int, ...]:
        """The classes of the video as a whole; () where its annotation is of another kind."""
        return self.annotation.classes if isinstance(self.annotation, Labels) else ()


@dataclass(frozen=True)
class LabelSpace:
    """The classes of a data set.

    Attributes:
      names: K, in the order of their numbers.
      several: what is annotated may show several of them, or none.
      directional: they tell left from right, so that mirroring a clip can make its label wrong.
      mirrored: class → class of the same clip mirrored, for those that change.
    """

    names: tuple[str, ...]
    several: bool = False
    directional: bool = False
    mirrored: dict[int, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of it, ready for JSON."""
        return {"names": list(self.names), "several": self.several}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "LabelSpace":
        """From what `to_dict` made, or from a checkpoint of an older version."""
        if "names" not in values:
            return cls(tuple(values["class_names"]), values["multi_label"])
        return cls(tuple(values["names"]), values["several"])


@dataclass(frozen=True)
class VideoSet:
    """The videos of one split, in a fixed order, and the classes that their annotations number.

    Attributes:
      records: the videos.
      labels: their classes.
      sources: of each record, which of the sources of `config.train` lists it; (): there is one.
      quarantined: record → why it is not to be opened, see `vidjax.data.listing.quarantine`.
    """

    records: tuple[Record, ...]
    labels: LabelSpace
    sources: tuple[int, ...] = ()
    quarantined: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.records)

    def targets(self) -> np.ndarray:
        """int32 `(N,)` class indices or, if a video may show several, float32 `(N, K)` zeros and ones."""
        if not self.labels.several:
            return np.array([r.labels[0] for r in self.records], np.int32)
        targets = np.zeros((len(self.records), len(self.labels.names)), np.float32)
        for row, record in zip(targets, self.records, strict=True):
            row[list(record.labels)] = 1
        return targets
