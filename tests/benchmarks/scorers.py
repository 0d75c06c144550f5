"""Speed of the scorer of segments at the size of ActivityNet's validation set, beside the official algorithm.

    python -m tests.benchmarks.scorers [--videos 4926] [--predictions 200] [--classes 200] [--measured 10]
        [--official FOLDER]

Draws truths and predictions as a detector with two external classes per video makes them. Ours scores all classes. The
official algorithm takes too long for that: it scores some of the classes, which it treats one after the other, and its
time is scaled by their predictions. It is written here as plainly as the official code, but in lists and arrays; with
`--official`, the folder `Evaluation` of a checkout of github.com/activitynet/ActivityNet, the official functions
themselves run, with pandas. All must agree to 12 digits. Times are of the processor; memory is the peak of what the
scorer allocates.
"""

import argparse
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vidjax.config.choices import TIOUS
from vidjax.evaluation.segments import SegmentArrays, segment_ap

THRESHOLDS = np.array(TIOUS["activitynet"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("videos", 4926), ("predictions", 200), ("classes", 200), ("measured", 10)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--official", type=Path)
    args = parser.parse_args()
    truth, found = draw(args.videos, args.predictions, args.classes)
    segment_ap(*draw(20, 10, 5))
    begin = time.process_time()
    result = segment_ap(truth, found)
    ours = time.process_time() - begin
    tracemalloc.start()
    segment_ap(truth, found)
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"{args.videos} videos, {len(truth)} truths, {len(found)} predictions, {args.classes} classes")
    print(f"vidjax: {ours:.2f} s, {memory / 2**20:.0f} MiB, average mAP {result.mAP:.4f}")
    ways = {"the official algorithm in arrays": plain}
    if args.official:
        ways["the official code"] = official(args.official)
    for name, way in ways.items():
        seconds, count = 0.0, 0
        for number in range(args.measured):
            rows, theirs = truth.label == number, found.label == number
            begin = time.process_time()
            ap = way(truth.rows(rows), found.rows(theirs))
            seconds, count = seconds + time.process_time() - begin, count + int(theirs.sum())
            np.testing.assert_allclose(ap, result.ap[:, number], rtol=1e-12, atol=1e-12)
        whole = seconds * len(found) / count
        print(f"{name}: {seconds:.1f} s for {count} predictions, {whole:.0f} s for all: {whole / ours:.0f} x")


def draw(videos: int, predictions: int, classes: int) -> tuple[SegmentArrays, SegmentArrays]:
    """Truths and predictions of a plausible detector: segments about the truths, two classes per video."""
    rng = np.random.default_rng(0)
    length = rng.uniform(20, 240, videos)
    of_video = rng.integers(0, classes, videos)
    counts = 1 + rng.poisson(0.55, videos)
    video = np.repeat(np.arange(videos), counts)
    start = rng.uniform(0, 0.7, len(video)) * length[video]
    end = np.minimum(start + rng.uniform(0.05, 0.6, len(video)) * length[video], length[video])
    truth = SegmentArrays(video, start, end, of_video[video])
    second = np.where(rng.random(videos) < 0.85, of_video, rng.integers(0, classes, videos))
    guesses = np.stack([second, rng.integers(0, classes, videos)])
    video = np.repeat(np.arange(videos), predictions)
    near = (np.cumsum(counts) - counts)[video] + rng.integers(0, 2**31, len(video)) % counts[video]
    spread = rng.gamma(1.0, 0.15, len(video)) * (end - start)[near]
    begin, stop = (ends[near] + spread * rng.standard_normal(len(video)) for ends in (start, end))
    label = guesses[np.arange(len(video)) % 2, video]
    return truth, SegmentArrays(video, np.minimum(begin, stop), np.maximum(begin, stop), label, rng.random(len(video)))


def plain(truth: SegmentArrays, found: SegmentArrays) -> np.ndarray:
    """Average precision of one class by threshold, prediction by prediction and threshold by threshold."""
    truths = defaultdict(list)
    for row, video in enumerate(truth.video.tolist()):
        truths[video].append(row)
    taken = np.zeros((len(THRESHOLDS), len(truth)), bool)
    hits = np.zeros((len(THRESHOLDS), len(found)))
    for place, row in enumerate(np.argsort(found.score)[::-1]):
        rows = np.array(truths.get(int(found.video[row]), ()), int)
        if not len(rows):
            continue
        common = np.minimum(found.end[row], truth.end[rows]) - np.maximum(found.start[row], truth.start[rows])
        common = common.clip(0)
        overlap = common / (truth.end[rows] - truth.start[rows] + found.end[row] - found.start[row] - common)
        by_overlap = overlap.argsort()[::-1]
        for level, threshold in enumerate(THRESHOLDS):
            for each in by_overlap:
                if overlap[each] < threshold:
                    break
                if not taken[level, rows[each]]:
                    taken[level, rows[each]] = hits[level, place] = True
                    break
    area = np.zeros(len(THRESHOLDS))
    for level, hit in enumerate(hits):
        precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
        for place in range(len(hit) - 2, -1, -1):
            precision[place] = max(precision[place], precision[place + 1])
        area[level] = (precision * hit).sum() / len(truth)
    return area


def official(folder: Path) -> Callable[[SegmentArrays, SegmentArrays], np.ndarray]:
    """The official functions for one class, read from their files, which are in Python 2."""
    import pandas as pd

    names: dict = {"np": np, "pd": pd, "xrange": range}
    for name, first in (("utils.py", "def interpolated_prec_rec"), ("eval_detection.py", "def compute_average")):
        text = (folder / name).read_text()
        exec(text[text.index(first) :].replace("np.float)", "float)"), names)

    def table(segments: SegmentArrays) -> "pd.DataFrame":
        columns = {"video-id": segments.video.astype(str), "t-start": segments.start, "t-end": segments.end}
        return pd.DataFrame(columns | ({} if segments.score is None else {"score": segments.score}))

    return lambda truth, found: names["compute_average_precision_detection"](table(truth), table(found), THRESHOLDS)


if __name__ == "__main__":
    main()
