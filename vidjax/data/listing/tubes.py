"""UCF101-24, J-HMDB and MultiSports: boxes in every frame of an action, in the pickles of the action tubelet detector.

All three come in one form, a dictionary with `labels`, `train_videos` and `test_videos` (a list of videos for each
split), `resolution` (height and width of each video) and `gttubes`: of each video, for each class, arrays with rows
of frame number (from 1), x1, y1, x2, y2 in pixels.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vidjax.data.listing.annotations import AnnotationFile
from vidjax.data.listing.corners import refusal, within
from vidjax.data.listing.rows import Row
from vidjax.data.listing.tube_files import load_tube_pickle
from vidjax.data.records import Boxes, Corners
from vidjax.data.text import raise_problems

_BEYOND = 0.05  # share by which boxes of these sets reach out of the picture; they are cut off


def tube_parser(fps: float) -> Callable[[AnnotationFile], list[Row]]:
    """Parser of such pickles into a row for each annotated frame.

    Args:
      fps: frame rate of the data set, by which frame numbers become times.
    """

    def parse(source: AnnotationFile) -> list[Row]:
        values = load_tube_pickle(source.file)
        names = {i: str(label) for i, label in enumerate(values["labels"])}
        problems = [
            f"{source.file}: {source.classes.unknown(name)}"
            for name in names.values()
            if source.classes.get(name) is None
        ]
        raise_problems(problems)
        classes = {i: source.classes.names[source.classes.get(name) or 0] for i, name in names.items()}
        videos = values["train_videos" if source.role == "train" else "test_videos"][source.split - 1]
        rows = []
        for video in videos:
            try:
                rows += _rows(source, str(video), values, classes, fps)
            except (KeyError, IndexError, TypeError, ValueError) as error:
                problems.append(f"{source.file}: {video}: {error}")
        raise_problems(problems)
        return rows

    return parse


def _rows(
    source: AnnotationFile, video: str, values: Mapping[str, Any], classes: Mapping[int, str], fps: float
) -> list[Row]:
    height, width = (float(side) for side in values["resolution"][video])
    frames: dict[int, list[tuple[Corners, str, int]]] = {}
    track = 0
    for label, tubes in sorted(values["gttubes"][video].items()):
        for tube in tubes:
            array = np.asarray(tube, np.float64)
            if array.ndim != 2 or array.shape[1] != 5:
                raise ValueError(f"a tube of shape {array.shape}, not (frames, 5)")
            for number, *pixels in array.tolist():
                corners = [value / side for value, side in zip(pixels, (width, height, width, height), strict=True)]
                if any(not -_BEYOND <= value <= 1 + _BEYOND for value in corners):
                    raise ValueError(f"frame {number:g}: {refusal(corners)}")
                box = within([min(max(value, 0.0), 1.0) for value in corners])
                if box is None:
                    raise ValueError(f"frame {number:g}: {refusal(corners)}")
                frames.setdefault(round(number), []).append((box, classes[int(label)], track))
            track += 1
    group = video.rpartition("/")[2].rpartition("_c")[0]  # videos of UCF-101 cut from one: …_g01_c01, …_g01_c02
    return [
        Row(
            video,
            f"{source.file}: {video}: frame {number}",
            Boxes(
                (number - 1) / fps,
                tuple(box for box, _, _ in found),
                tuple((label,) for _, label, _ in found),
                tuple(track for _, _, track in found),
            ),
            group=group,
            at=(number - 1) / fps,
        )
        for number, found in sorted(frames.items())
    ]
