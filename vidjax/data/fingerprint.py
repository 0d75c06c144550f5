"""Fingerprint of a list of videos, independent of the folders of the files."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict

from vidjax.data.records import Labels, Record, VideoSet, map_classes


def fingerprint(*sets: VideoSet) -> str:
    """Hash file names without folders, annotations, and parts of videos to 16 hexadecimal digits."""
    videos = [_known(r, videos.labels.names) for videos in sets for r in videos.records]
    return hashlib.sha256(json.dumps(videos).encode()).hexdigest()[:16]


def _known(record: Record, class_names: Sequence[str]) -> list:
    known = [os.path.basename(record.path), [class_names[i] for i in record.labels], record.start, record.end]
    if record.annotation is None or (isinstance(record.annotation, Labels) and record.annotation.plain):
        return known
    annotation = map_classes(record.annotation, class_names.__getitem__)
    return [*known, record.at, annotation.kind, asdict(annotation)]
