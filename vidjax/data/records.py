"""Basic types of `vidjax.data`: videos with annotations, the classes of a data set, and sets of videos.

Annotations are plain numbers and text. Those of a `Record` give classes as numbers; those of a `Row` of a listing (see
`vidjax.data.listing.rows`), before numbers are assigned, give them as names.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, TypeVar, overload

import numpy as np

Class = TypeVar("Class", int, str)
Corners = tuple[float, float, float, float]  # left, top, right, bottom; shares of width and height


@dataclass(frozen=True)
class Labels(Generic[Class]):
    """Classes of a whole video, or of a record's part of it: one, several, or none of the data set's.

    Attributes:
      classes: classes that the video shows at some time.
      spans: times at which it shows them, as tuples of start and end, in seconds from the first frame, and class; they
        may overlap. None: each class is that of the whole video.
      categories: categories in which the video is annotated, the part of a class's name before its first slash; it is
        not known whether the video shows classes of others. Empty: all.
    """

    kind: ClassVar[str] = "labels"
    classes: tuple[Class, ...]
    spans: tuple[tuple[float, float, Class], ...] | None = None
    categories: tuple[str, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether there is nothing but classes."""
        return self.spans is None and not self.categories


@dataclass(frozen=True)
class Boxes(Generic[Class]):
    """Boxes in one frame, with the classes of each.

    Attributes:
      at: time of the frame, seconds from the first one.
      corners: corners of the R boxes; may be empty.
      classes: R tuples with the classes of each box.
      tracks: R numbers, equal for the same person or object over time; empty: unknown.
      proposals: boxes that a network is asked about instead of `corners`, such as those of a person detector; None:
        it is asked about `corners`.
    """

    kind: ClassVar[str] = "boxes"
    at: float
    corners: tuple[Corners, ...]
    classes: tuple[tuple[Class, ...], ...]
    tracks: tuple[int, ...] = ()
    proposals: tuple[Corners, ...] | None = None

    @property
    def asked(self) -> tuple[Corners, ...]:
        """Boxes that a network is asked about: the proposals if there are any, or else the annotated ones."""
        return self.corners if self.proposals is None else self.proposals


@dataclass(frozen=True)
class Segments(Generic[Class]):
    """Labelled segments of a long video; there may be none, and they may overlap.

    Attributes:
      spans: tuples of start and end, in seconds from the first frame, and class.
      duration: length of the video, seconds; None: not stated.
      fps: frame rate of the video, frames per second; None: not stated.
    """

    kind: ClassVar[str] = "segments"
    spans: tuple[tuple[float, float, Class], ...]
    duration: float | None = None
    fps: float | None = None


@dataclass(frozen=True)
class Masks:
    """Masks of objects: the object that each pixel belongs to.

    Attributes:
      path: path of a folder with an indexed PNG per annotated frame, named like the frame, or of a video of masks; a
        pixel's value is the number of its object.
      ids: numbers of the objects to use; empty: all but 0, which is the background.
    """

    kind: ClassVar[str] = "masks"
    path: str
    ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Caption:
    """Descriptions of a video: one, or several independent ones.

    Attributes:
      texts: the descriptions, or the answers to the question.
      question: question about the video; empty: there is none.
    """

    kind: ClassVar[str] = "caption"
    texts: tuple[str, ...]
    question: str = ""


@dataclass(frozen=True)
class TrueFlow:
    """Optical flow from a picture, whose path is the record's, to another one.

    Attributes:
      second: path of the other picture.
      path: path of the file of the flow, see `vidjax.video.flow_files.read_flow`.
    """

    kind: ClassVar[str] = "flow"
    second: str
    path: str


Annotation = Labels[Class] | Boxes[Class] | Segments[Class] | Masks | Caption | TrueFlow
KINDS = tuple(kind.kind for kind in (Labels, Boxes, Segments, Masks, Caption, TrueFlow))
LABELS = frozenset({Labels.kind})  # kinds of annotations needed for classification
UNKNOWN = -1.0  # target of a class of which it is not known whether a video shows it


def is_box(corners: Sequence[float]) -> bool:
    """Whether four numbers are the `Corners` of a box within the picture."""
    left, top, right, bottom = corners
    return 0 <= left <= right <= 1 and 0 <= top <= bottom <= 1


def classes_of(annotation: Annotation | None) -> tuple:
    """Classes in an annotation, in its order and with repetitions; () if it has none."""
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
    """Replace every class of an annotation by `to(class)`; classes of a video or a box are sorted."""
    match annotation:
        case Labels(classes, spans):
            mapped = None if spans is None else tuple((start, end, to(name)) for start, end, name in spans)
            return replace(annotation, classes=tuple(sorted(map(to, classes))), spans=mapped)
        case Boxes():
            return replace(annotation, classes=tuple(tuple(sorted(map(to, c))) for c in annotation.classes))
        case Segments(spans):
            return replace(annotation, spans=tuple((start, end, to(name)) for start, end, name in spans))
    return annotation


@dataclass(frozen=True)
class Record:
    """One video of a data set, or one part of a video.

    Attributes:
      path: path of the file or folder of images, or the address of a stored video.
      annotation: annotation of the video or part; None: there is none.
      group: name shared by videos of one origin; empty: unknown.
      start, end: start and end of the part, seconds from the first frame; None: beginning or end of the video.
      at: key time, such as that of a key frame, seconds from the first frame; None: there is none.
    """

    path: str
    annotation: Annotation[int] | None = None
    group: str = ""
    start: float | None = None
    end: float | None = None
    at: float | None = None

    @property
    def labels(self) -> tuple[int, ...]:
        """Classes of the whole video; () if its annotation is of another kind."""
        return self.annotation.classes if isinstance(self.annotation, Labels) else ()

    @property
    def moment(self) -> float | None:
        """Time that every clip must show, seconds: that of the annotated boxes; None: clips may be anywhere."""
        return self.annotation.at if isinstance(self.annotation, Boxes) else None


@dataclass(frozen=True)
class LabelSpace:
    """The classes of a data set.

    Attributes:
      names: names of the K classes, in the order of their numbers.
      several: whether a video, or a box, may show several classes, or none.
      directional: whether classes tell left from right, so that mirroring a clip can make its label wrong.
      mirrored: class → class of the mirrored clip, for classes that change.
      positives: number of training videos that show each class; empty: not known, as after training.
      annotated: number of training videos of which it is known whether they show it.
    """

    names: tuple[str, ...]
    several: bool = False
    directional: bool = False
    mirrored: dict[int, int] = field(default_factory=dict)
    positives: tuple[int, ...] = field(default=(), compare=False, repr=False)
    annotated: tuple[int, ...] = field(default=(), compare=False, repr=False)

    def known(self, categories: Sequence[str]) -> np.ndarray:
        """Whether each class belongs to one of these categories, bool `(K,)`; empty `categories`: all do."""
        return np.array([not categories or name.partition("/")[0] in categories for name in self.names], bool)

    def to_dict(self) -> dict[str, Any]:
        """Convert to the plain values that a checkpoint keeps, for JSON."""
        return {"names": list(self.names), "several": self.several}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "LabelSpace":
        """Restore from the values of `to_dict`, or from a checkpoint of an older version."""
        if "names" not in values:
            return cls(tuple(values["class_names"]), values["multi_label"])
        return cls(tuple(values["names"]), values["several"])


@dataclass(frozen=True)
class VideoSet:
    """The videos of one split, in a fixed order, and the classes of their annotations.

    Attributes:
      records: records of the videos.
      labels: classes of the annotations.
      sources: number of each record's source in `config.train`; (): there is only one source.
      quarantined: reasons why records must not be opened, by index, see `vidjax.data.listing.quarantine`.
      shown: classes that the annotations can show, if a model has more; (): all of them.
    """

    records: tuple[Record, ...]
    labels: LabelSpace
    sources: tuple[int, ...] = ()
    quarantined: dict[int, str] = field(default_factory=dict)
    shown: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    def targets(self) -> np.ndarray:
        """Class indices, int32 `(N,)` or, if a video may show several classes, float32 `(N, K)`: zeros and ones, and
        `UNKNOWN` for the classes of categories in which a video is not annotated."""
        if not self.labels.several:
            return np.array([r.labels[0] for r in self.records], np.int32)
        targets = np.zeros((len(self.records), len(self.labels.names)), np.float32)
        for row, record in zip(targets, self.records, strict=True):
            if isinstance(record.annotation, Labels) and record.annotation.categories:
                row[~self.labels.known(record.annotation.categories)] = UNKNOWN
            row[list(record.labels)] = 1
        return targets

    def counted(self) -> "VideoSet":
        """Copy with the numbers of videos of each class in its labels, for a training set."""
        count = len(self.labels.names)
        positives, missing = np.zeros(count, int), np.zeros(count, int)
        for record in self.records:
            positives[list(record.labels)] += 1
            if isinstance(record.annotation, Labels) and record.annotation.categories:
                missing += ~self.labels.known(record.annotation.categories)
        annotated = len(self.records) - missing
        numbers = {"positives": tuple(positives.tolist()), "annotated": tuple(annotated.tolist())}
        return replace(self, labels=replace(self.labels, **numbers))
