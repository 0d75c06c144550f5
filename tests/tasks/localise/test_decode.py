"""Decoding and suppression against the references' own, to rounding."""

import json

import jax
import numpy as np
import pytest

from tests import localisation
from vidjax.config import LocaliseConfig
from vidjax.data.reading.feature_file import Grid
from vidjax.data.records import Record
from vidjax.models.pyramid import SegmentOutputs
from vidjax.tasks.localise import decode
from vidjax.tasks.localise.detections import VideoScores, suppressed
from vidjax.tasks.localise.methods import suppression_of
from vidjax.tasks.localise.nms import Found, suppress
from vidjax.tasks.localise.targets import whole_grid

SEEDS = {"decode_actionformer_anet": 22, "decode_actionformer_thumos": 21, "decode_tridet_thumos": 24}


def found_by(name):
    entry = localisation.INDEX[name]
    levels, classes, bins = entry["levels"], entry["num_classes"], entry["num_bins"]
    draw = {"lengths": levels, "num_classes": classes, "channels": 2 * (bins + 1) if bins else 2}
    logits, distances = localisation.predictions(**draw, seed=SEEDS[name])
    mask = np.concatenate([np.arange(n) * 2**level < entry["valid"] for level, n in enumerate(levels)])
    outputs = SegmentOutputs(logits, distances, mask)
    if bins:
        ends = [localisation.predictions(levels, classes, draw["channels"], seed=seed)[0] for seed in (124, 224)]
        outputs = SegmentOutputs(*(x[None] for x in (logits, distances, mask, *ends)), levels=tuple(levels))
        distances = np.asarray(jax.jit(SegmentOutputs.distances)(outputs))[0]
    rule = entry["test_cfg"]
    return entry, rule, outputs, decode.candidates(
        logits, distances, mask, levels,
        min_score=rule["pre_nms_thresh"], most=rule["pre_nms_topk"], min_length=rule["duration_thresh"],
    )  # fmt: skip


def close(found, arrays, prefix, tolerance=1e-5):
    kept = len(arrays[f"{prefix}scores"])
    np.testing.assert_array_equal(found.labels[:kept], arrays[f"{prefix}labels"])
    np.testing.assert_allclose(found.scores[:kept], arrays[f"{prefix}scores"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.segments[:kept], arrays[f"{prefix}segments"], rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", SEEDS)
def test_decodings_are_the_references(name):
    entry, rule, outputs, before = found_by(name)
    arrays, meta = localisation.arrays(name), entry["meta"]
    assert len(before.scores) == entry["num_before"]
    close(before, arrays, "before_", 1e-4)
    settings = LocaliseConfig(
        sigma=rule["nms_sigma"], min_score=rule["min_score"], per_class=rule["multiclass_nms"],
        detections=rule["max_seg_num"], voting=rule["voting_thresh"],
    )  # fmt: skip
    after = suppress(before.found, suppression_of(outputs, settings))
    assert len(after.scores) == entry["num_after"]
    grid = Grid.of_frames(meta["feat_stride"], meta["feat_num_frames"], meta["fps"])
    seconds = np.clip(grid.seconds(after.segments), 0, meta["duration"])
    close(after._replace(segments=seconds), arrays, "")
    settings = LocaliseConfig(suppression="hard", iou=0.3, min_score=0.01, detections=50)
    hard = suppress(before.found, suppression_of(outputs, settings))
    close(hard, arrays, "hard_", 1e-4)


@pytest.mark.parametrize("join", ["product", "root"])
def test_detections_of_a_whole_video_with_its_classes_are_opentads(join, tmp_path):
    """From places to segments in seconds, each with the two best classes of its video."""
    entry, arrays = localisation.INDEX["decode_opentad_anet"], localisation.arrays("decode_opentad_anet")
    levels, duration = entry["levels"], entry["meta"]["duration"]
    logits, distances = localisation.predictions(levels, 1, seed=31)
    outputs = SegmentOutputs(logits, distances, np.ones(len(logits), bool), levels=tuple(levels), reduction=4)
    settings = LocaliseConfig(sigma=0.7, per_class=False, voting=0.9, votes="score", detections=100, min_length=0.0)
    before = decode.decode_pyramid(outputs, settings)
    seconds = whole_grid(Record("v.mp4"), duration, 768).seconds(before.segments)
    found = suppressed(Found(seconds, before.scores, before.labels), suppression_of(outputs, settings), duration)
    scores = {"classes": list("abcde"), "results": {"v": arrays["video_scores"].tolist()}}
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    joined = VideoScores.read(str(tmp_path / "scores.json")).join(found, "v_v", join)
    order = np.argsort(-arrays[f"{join}_scores"], kind="stable")
    segments = arrays[f"{join}_segments"][order]
    assert len(joined) == len(segments) == 200
    np.testing.assert_array_equal(joined.labels, arrays[f"{join}_labels"][order])
    np.testing.assert_allclose(joined.scores, arrays[f"{join}_scores"][order], rtol=1e-4)
    np.testing.assert_allclose(joined.segments, segments, atol=1e-3)
