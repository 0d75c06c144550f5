"""Fingerprints of lists of videos: those of earlier versions, and everything that is annotated counts."""

import dataclasses

from vidjax.data.fingerprint import fingerprint
from vidjax.data.records import Boxes, Caption, Labels, LabelSpace, Record, VideoSet

LABELS = LabelSpace(("run", "left", "right"), True, True, {1: 2, 2: 1})
VIDEOS = VideoSet(
    (Record("/gone/a.mp4", Labels((0,)), "g"), Record("/gone/b/c.mp4", Labels((0, 2)), "", 1.5, 3.0)), LABELS
)


def test_labelled_videos_keep_the_fingerprint_that_runs_have_written_down():
    assert fingerprint(VIDEOS) == "9e88812ab2501b91"


def test_every_part_of_an_annotation_counts():
    def of(annotation, at=1.0):
        return fingerprint(VideoSet((Record("a.mp4", annotation, at=at),), LABELS))

    box = Boxes(1.0, ((0.0, 0.0, 0.5, 1.0),), ((0,),), (3,))
    others = [dataclasses.replace(box, **change) for change in (
        {"at": 2.0}, {"corners": ((0.0, 0.0, 0.6, 1.0),)}, {"classes": ((1,),)}, {"tracks": (4,)},
    )]  # fmt: skip
    found = [of(a) for a in (box, *others, Caption(("x",)), Caption(("y",)), Labels((0,)))] + [of(box, at=2.0)]
    assert len(set(found)) == len(found) and of(box) == found[0]
