"""JSON Lines files of videos: one record per line, for annotations that do not fit into a CSV cell.

    {"path": "a.mp4", "label": "run"}
    {"path": "b.mp4", "labels": ["run", "jump"], "split": "val", "group": "camera 2"}
    {"path": "b.mp4", "labels": ["action/run", "scene/beach"], "categories": ["action", "scene"]}
    {"path": "c.mp4", "boxes": [{"corners": [0.1, 0.2, 0.5, 0.9], "labels": ["run"], "track": 3}], "at": 2.5}
    {"path": "d.mp4", "segments": [[0.5, 4.0, "run"], [4.0, 6.5, "jump"]]}
    {"path": "e.mp4", "caption": "a dog runs along a beach", "start": 10.0, "end": 14.5}
    {"path": "f.mp4", "mask": {"path": "masks/f", "ids": [1, 2]}}
    {"path": "g_1.png", "flow": {"second": "g_2.png", "path": "g_1.flo"}}

Of classes named CATEGORY/CLASS, those of other categories than the given ones are not known of the video. Where labels
are needed, segments are labels with their times. Times are seconds from the first frame; corners are left, top, right
and bottom, as shares of width and height. Only the needed kind of annotation is read. A video may be listed several
times, with different times. The file and its videos may be remote.
"""

import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vidjax.data.listing.gather import Gathered
from vidjax.data.listing.paths import Presence, locate
from vidjax.data.listing.rows import LISTED, Row
from vidjax.data.records import KINDS, Annotation, Boxes, Caption, Labels, Masks, Segments, TrueFlow, is_box
from vidjax.data.text import DataError, decode
from vidjax.video.byte_sources import read_bytes
from vidjax.wording import things

logger = logging.getLogger("vidjax")

# Keys of each kind of annotation in a line.
KEYS = {
    "labels": ("label", "labels", "segments"),
    "boxes": ("boxes",),
    "segments": ("segments",),
    "masks": ("mask",),
    "caption": ("caption",),
    "flow": ("flow",),
}
_FIELDS = frozenset(
    {
        "path",
        "split",
        "group",
        "start",
        "end",
        "at",
        "categories",
        "question",
        *(key for keys in KEYS.values() for key in keys),
    }
)


@dataclass(frozen=True)
class JsonLines:
    """Source of videos with annotations of any kind in a JSON Lines file, one per line.

    Attributes:
      name: name as given in the setting.
      path: path or address of the file.
      root: base folder or address of relative paths.
      needed: kinds of annotations of which each line must have one; empty: annotations are ignored.
      need_files: whether a missing video, or a file of its annotation, is an error.
    """

    name: str
    path: str
    root: str
    needed: frozenset[str]
    need_files: bool = True
    kinds = frozenset(KINDS)
    labels = None
    splits = LISTED

    def rows(self) -> list[Row]:
        """Read the rows; see `Source`."""
        found, unknown = Gathered(self.need_files), set()
        there = Presence() if self.need_files else None
        for number, line in enumerate(decode(self.path, read_bytes(self.path)).split("\n"), 1):
            if not line.strip():
                continue
            where = f"{self.path}:{number}"
            try:
                values = _object(line)
                unknown |= values.keys() - _FIELDS
                row = self._row(values, where)
                for beside in _beside(row.annotation):
                    if there and not there(beside):
                        raise _Wrong(f"no such file or folder: {beside}")
            except _Wrong as error:
                found.note(where, str(error))
            else:
                found.add(row, values["path"])
        if not (rows := found.rows()):
            raise DataError(f"{self.path}: lists no videos")
        if unknown:
            logger.warning("%s: unused keys: %s", self.path, ", ".join(sorted(unknown)))
        return rows

    def _row(self, values: Mapping[str, Any], where: str) -> Row:
        path = values.get("path")
        if not isinstance(path, str) or not path.strip():
            raise _Wrong(f"the path is {'empty' if path in ('', None) else repr(path)}; give a video's path, as text")
        start, end, at = (_seconds(values[key], key) if key in values else None for key in ("start", "end", "at"))
        if start is not None and end is not None and end <= start:
            raise _Wrong(f"the part of {path!r} ends at {end:g} s, which is not after its start at {start:g} s")
        if at is not None and not (start or 0.0) <= at <= (math.inf if end is None else end):
            raise _Wrong(f"the time 'at', {at:g} s, is not within the given part of {path!r}")
        split, group = (_text(values.get(key, ""), key, empty=True) for key in ("split", "group"))
        annotation = read_annotation(values, self.needed, lambda given: locate(self.root, given))
        return Row(locate(self.root, path.strip()), where, annotation, split.lower(), group, start, end, at)


class _Wrong(ValueError):
    """Raised for an unusable line, with the reason."""


def _beside(annotation: Annotation[str] | None) -> tuple[str, ...]:
    """Paths of the files of an annotation."""
    match annotation:
        case Masks(path):
            return (path,)
        case TrueFlow(second, path):
            return second, path
    return ()


def read_annotation(
    values: Mapping[str, Any], needed: frozenset[str], place: Callable[[str], str] = str
) -> Annotation[str] | None:
    """Read the annotation from the values of a line.

    Args:
      values: values of the line, by key.
      needed: kinds of annotations of which the line must have one; the first of `KINDS` that is present is used. Empty:
        annotations are ignored.
      place: function from the path of a file of the annotation as given to its location.

    Raises:
      ValueError: if there is no needed annotation, or it is malformed.
    """
    wanted = [kind for kind in KINDS if kind in needed]
    for kind in wanted:
        if any(key in values for key in KEYS[kind]):
            return _READERS[kind](values, place)
    if not wanted:
        return None
    keys = [repr(key) for kind in wanted for key in KEYS[kind]]
    raise _Wrong(f"there is no {' or '.join(keys)} of {values.get('path')!r}")


def write_annotation(annotation: Annotation[str]) -> dict[str, Any]:
    """Convert an annotation to the values that `read_annotation` reads."""
    match annotation:
        case Labels(classes, spans, categories):
            known = {"categories": list(categories)} if categories else {}
            times = {} if spans is None else {"segments": [list(span) for span in spans]}
            return (times or {"labels": list(classes)}) | known
        case Boxes():
            tracks = [{"track": track} for track in annotation.tracks] or [{}] * len(annotation.corners)
            boxes = [
                {"corners": list(corners), "labels": list(classes)} | track
                for corners, classes, track in zip(annotation.corners, annotation.classes, tracks, strict=True)
            ]
            return {"boxes": boxes, "at": annotation.at}
        case Segments(spans):
            return {"segments": [list(span) for span in spans]}
        case Masks(path, ids):
            return {"mask": {"path": path, "ids": list(ids)}}
        case Caption(texts, question):
            return {"caption": list(texts)} | ({"question": question} if question else {})
        case TrueFlow(second, path):
            return {"flow": {"second": second, "path": path}}


def _labels(values: Mapping[str, Any], place: Callable[[str], str]) -> Labels[str]:
    categories = values.get("categories", [])
    if not isinstance(categories, list):
        raise _Wrong(f"categories must be a list of texts, not {_short(categories)}")
    categories = tuple(_text(name, "each of the categories") for name in categories)
    if "segments" in values and not {"label", "labels"} & values.keys():
        spans = _segments(values, place).spans
        return Labels(tuple(sorted({name for _, _, name in spans})), spans, categories)
    return Labels(_classes(values, f"of {values.get('path')!r}"), categories=categories)


def _boxes(values: Mapping[str, Any], place: Callable[[str], str]) -> Boxes[str]:
    boxes = values["boxes"]
    if "at" not in values:
        raise _Wrong("boxes need 'at', the time of their frame in seconds")
    if not isinstance(boxes, list) or not all(isinstance(box, dict) for box in boxes):
        raise _Wrong(f'boxes must be a list of {{"corners": […], "label": …}}, not {_short(boxes)}')
    corners, classes, tracks = [], [], []
    for number, box in enumerate(boxes, 1):
        given = box.get("corners")
        if not isinstance(given, list) or len(given) != 4 or not all(map(_is_number, given)) or not is_box(given):
            raise _Wrong(f"box {number} must have corners left, top, right, bottom within 0…1, not {_short(given)}")
        corners.append(tuple(map(float, given)))
        classes.append(_classes(box, f"of box {number}"))
        if "track" in box:
            tracks.append(_whole(box["track"], f"the track of box {number}"))
    if len(tracks) not in (0, len(boxes)):
        raise _Wrong(f"{things(len(tracks), 'box has', 'boxes have')} a track, of {len(boxes)}; give all or none")
    return Boxes(_seconds(values["at"], "at"), tuple(corners), tuple(classes), tuple(tracks))


def _segments(values: Mapping[str, Any], place: Callable[[str], str]) -> Segments[str]:
    spans = values["segments"]
    if not isinstance(spans, list):
        raise _Wrong(f'segments must be a list of [start, end, "class"], not {_short(spans)}')
    found = []
    for number, span in enumerate(spans, 1):
        if not isinstance(span, list) or len(span) != 3:
            raise _Wrong(f'segment {number} must be [start, end, "class"], not {_short(span)}')
        start, end = _seconds(span[0], f"start of segment {number}"), _seconds(span[1], f"end of segment {number}")
        if end <= start:
            raise _Wrong(f"segment {number} ends at {end:g} s, which is not after its start at {start:g} s")
        found.append((start, end, _text(span[2], f"class of segment {number}")))
    return Segments(tuple(found))


def _masks(values: Mapping[str, Any], place: Callable[[str], str]) -> Masks:
    mask = values["mask"]
    mask = {"path": mask} if isinstance(mask, str) else mask
    if not isinstance(mask, dict) or not isinstance(mask.get("ids", []), list):
        raise _Wrong(f'mask must be a path or {{"path": …, "ids": […]}}, not {_short(mask)}')
    ids = tuple(_whole(number, "each of the ids of a mask") for number in mask.get("ids", ()))
    return Masks(place(_text(mask.get("path"), "path of the mask")), ids)


def _caption(values: Mapping[str, Any], place: Callable[[str], str]) -> Caption:
    texts = values["caption"]
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not texts:
        raise _Wrong(f"caption must be a text or a list of texts, not {_short(texts)}")
    question = _text(values.get("question", ""), "question", empty=True)
    return Caption(tuple(_text(text, "caption") for text in texts), question)


def _flow(values: Mapping[str, Any], place: Callable[[str], str]) -> TrueFlow:
    flow = values["flow"]
    if not isinstance(flow, dict):
        raise _Wrong(f'flow must be {{"second": …, "path": …}}, the next picture and the file, not {_short(flow)}')
    second, path = (place(_text(flow.get(key), f"{key} of the flow")) for key in ("second", "path"))
    return TrueFlow(second, path)


_READERS: dict[str, Callable[[Mapping[str, Any], Callable[[str], str]], Annotation[str]]] = {
    "labels": _labels,
    "boxes": _boxes,
    "segments": _segments,
    "masks": _masks,
    "caption": _caption,
    "flow": _flow,
}


def _object(line: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise _Wrong(f"not valid JSON ({error.msg} at character {error.colno})") from None
    if not isinstance(values, dict):
        raise _Wrong(f'must be an object such as {{"path": "a.mp4", "label": "run"}}, not {_short(values)}')
    return values


def _classes(values: Mapping[str, Any], whose: str) -> tuple[str, ...]:
    if "label" in values and "labels" in values:
        raise _Wrong(f"give the label or the labels {whose}, not both")
    names = values.get("labels") if "label" not in values else [values["label"]]
    if not isinstance(names, list):
        raise _Wrong(f"the labels {whose} must be a list of texts, not {_short(names)}")
    names = tuple(_text(name, f"label {whose}") for name in names)
    if len(set(names)) < len(names):
        raise _Wrong(f"a label {whose} is repeated: {_short(names)}")
    return names


def _text(value: Any, what: str, empty: bool = False) -> str:
    if not isinstance(value, str):
        raise _Wrong(f"the {what} must be text, not {_short(value)}")
    if not (text := value.strip()) and not empty:
        raise _Wrong(f"the {what} is empty")
    return text


def _seconds(value: Any, what: str) -> float:
    if not _is_number(value) or value < 0:
        raise _Wrong(f"{what} must be a number of seconds, 0 or more, not {_short(value)}")
    return float(value)


def _whole(value: Any, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Wrong(f"{what} must be a whole number, not {_short(value)}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if value is not None else "nothing"
    return text if len(text) <= 80 else f"{text[:79]}…"
