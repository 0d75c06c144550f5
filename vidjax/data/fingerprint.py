"""A short text that two lists of videos share only if they are the same, wherever the files lie."""

import hashlib
import json
import os

from vidjax.data.records import VideoSet


def fingerprint(*sets: VideoSet) -> str:
    """16 hexadecimal digits from file names without their folders, labels, and the parts of videos that are meant."""
    videos = [
        [os.path.basename(r.path), [videos.class_names[i] for i in r.labels], r.start, r.end]
        for videos in sets
        for r in videos.records
    ]
    return hashlib.sha256(json.dumps(videos).encode()).hexdigest()[:16]
