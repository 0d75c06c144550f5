"""Checks of the splits of a data set: balance of classes, and overlap of training and evaluation."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from vidjax.data.audit.clip_checks import Finding, of, percent
from vidjax.data.records import Boxes, Segments, VideoSet, classes_of

IMBALANCE = 5.0  # ratio of videos in the largest class to the smallest, beyond which there is a warning


def check_classes(train: VideoSet, evaluation: VideoSet) -> Finding:
    """Check how unequal the classes are in training, and which classes evaluation lacks."""
    counts = _class_counts(train)
    absent = [name for name, n in zip(train.labels.names, _class_counts(evaluation), strict=True) if not n]
    largest, smallest = int(counts.argmax()), int(counts.argmin())
    ratio = float(counts[largest] / max(counts[smallest], 1))
    names = train.labels.names
    what, total = _labelled(train)
    text = (
        f"{len(names)} classes of {counts[smallest]} ({names[smallest]}) to {counts[largest]} ({names[largest]}) "
        f"training {what}; always {names[largest]!r} would be right on {percent(counts[largest] / max(total, 1))}"
    )
    if ratio > IMBALANCE:
        text += f": {ratio:.1f}-fold, so look at the per-class figures of eval.json, not at top-1 alone"
    if absent:
        more = ", …" if len(absent) > 5 else ""
        text += f"; {of(len(absent), len(names))} classes are not in evaluation: {', '.join(absent[:5])}{more}"
    share = counts[counts > 0] / max(counts.sum(), 1)
    values = {
        "counts": {name: int(n) for name, n in zip(names, counts, strict=True)},
        "ratio": ratio,
        "effective_classes": float(np.exp(-(share * np.log(share)).sum())),
        "absent_in_evaluation": absent,
    }
    return Finding("classes", ratio <= IMBALANCE and not absent, text, values)


def check_overlap(train: VideoSet, evaluation: VideoSet, digests: Mapping[str, str]) -> Finding:
    """Check for videos, groups and contents in both training and evaluation, and for contents with several labels.

    Args:
      train, evaluation: training and evaluation videos.
      digests: digest of the content by path, at least for files that may be equal, from `content_digests`.
    """
    problems, values, paths = [], {}, []
    for name, key, what in (
        ("same_path", lambda r: os.path.realpath(r.path), "are training videos"),
        ("same_group", lambda r: r.group, "share a group with training videos"),
        ("same_content", lambda r: digests.get(r.path, ""), "have the bytes of a training video"),
    ):
        ours = {key(r) for r in train.records} - {""}
        both = [r.path for r in evaluation.records if key(r) in ours]
        values[name] = len(both)
        paths += both
        if both:
            problems.append(f"{of(len(both), len(evaluation))} evaluation videos {what}")
    labels: dict[tuple, set[tuple[int, ...]]] = defaultdict(set)
    for r in (*train.records, *evaluation.records):
        labels[digests.get(r.path) or os.path.realpath(r.path), r.start, r.end].add(r.labels)
    values["labelled_twice"] = sum(len(found) > 1 for found in labels.values())
    if values["labelled_twice"]:
        problems.append(f"{values['labelled_twice']} videos with identical content have different labels")
    text = "; ".join(problems) + ": leave one side out" if problems else "no path, group or content is in both splits"
    return Finding("overlap", not problems, text, values, tuple(dict.fromkeys(paths)))


def content_digests(paths: Iterable[str]) -> dict[str, str]:
    """BLAKE2 digests, by path, of files of the same size as another one, as no others can be equal.

    Paths that are not files have no digest.
    """
    sizes: dict[int, dict[str, str]] = defaultdict(dict)
    for path in paths:
        if os.path.isfile(path):
            sizes[os.path.getsize(path)][os.path.realpath(path)] = path
    digests = {}
    for alike in sizes.values():
        for path in alike.values() if len(alike) > 1 else ():
            with open(path, "rb") as file:
                digests[path] = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    return digests


def _labelled(videos: VideoSet) -> tuple[str, int]:
    """What has the labels, in words, and how many of these there are."""
    boxes = [len(r.annotation.corners) for r in videos.records if isinstance(r.annotation, Boxes)]
    segments = [len(r.annotation.spans) for r in videos.records if isinstance(r.annotation, Segments)]
    return ("boxes", sum(boxes)) if boxes else ("segments", sum(segments)) if segments else ("videos", len(videos))


def _class_counts(videos: VideoSet) -> np.ndarray:
    labels = [i for r in videos.records for i in classes_of(r.annotation)]
    return np.bincount(np.array(labels, int), minlength=len(videos.labels.names))
