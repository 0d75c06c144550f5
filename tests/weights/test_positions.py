"""Checkpoints whose tables of positions are for another clip length and size, in the names of other frameworks."""

import numpy as np
import pytest

from tests.peers import needs
from vidjax.models.registry import create_model
from vidjax.models.state import assign, split
from vidjax.weights.load import load_into
from vidjax.weights.table import sources
from vidjax.weights.write import rule_of

torch = needs("torch")

SMALL = {"dim": 8, "depth": 1, "heads": 2}
MVIT = {"dim": 8, "depth": 2, "stages": (1,), "kv_stride": 2}


def written(model, name, source):
    """The state dict of a model that is smaller than any that the source's framework has."""
    _, params, _ = split(model)
    for table in (t for t in sources() if t.name == source and t.serves(name)):
        found = {path: rule_of(table, path) for path in params}
        if all(found.values()):
            break
    state = {}
    for path, (rule, keys) in found.items():
        state |= dict(zip(keys, rule.transform.inverse(np.asarray(params[path])), strict=True))
    return state


def interpolated(table, sides, size, **how):
    """`(N, D)` over a grid of `sides` → over one of `size`, by PyTorch."""
    grid = torch.tensor(np.asarray(table)).reshape(*sides, -1).movedim(-1, 0)[None]
    return torch.nn.functional.interpolate(grid, size=size, **how)[0].movedim(0, -1).reshape(-1, table.shape[-1])


@pytest.mark.parametrize(
    ("name", "source", "kwargs", "clip", "resized"),
    [
        pytest.param(
            "vivit_base_16x2", "transformers", SMALL, {"num_frames": 48, "size": 256}, {"pos_embed"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "timesformer_base_divided", "timesformer", SMALL, {"num_frames": 16, "size": 256},
            {"pos_embed", "time_embed"}, marks=pytest.mark.slow,
        ),
        (
            "mvit_v1_b_16x4", "torchvision", MVIT | {"version": 1}, {"num_frames": 32, "size": 256},
            {"spatial_positions", "temporal_positions"},
        ),
        pytest.param(
            "mvit_v2_s", "slowfast", MVIT, {"num_frames": 32, "size": 256},
            {f"blocks.{i}.attn.relative_{x}" for i in (0, 1) for x in "thw"}, marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_tables_are_fitted_to_the_clip(name, source, kwargs, clip, resized):
    there = create_model(name, num_classes=3, **kwargs)
    rng = np.random.default_rng(0)
    assign(there, {path: rng.standard_normal(a.shape).astype(np.float32) for path, a in split(there)[1].items()})
    here = create_model(name, num_classes=3, **kwargs, **clip)
    report = load_into(here, written(there, name, source), name=name)
    assert set(report.resized) == resized and not report.fresh and not report.dropped
    old, new = split(there)[1], split(here)[1]
    (t, h, w), (t2, h2, w2) = there.base_grid, here.base_grid
    for path, array in old.items():
        if path not in resized:
            np.testing.assert_array_equal(new[path], array)
    aligned = {"mode": "trilinear", "align_corners": True}
    if name.startswith("vivit"):
        np.testing.assert_array_equal(new["pos_embed"][:, 0], old["pos_embed"][:, 0])
        expected = {"pos_embed": interpolated(old["pos_embed"][0, 1:], (t, h, w), (t2, h2, w2), **aligned)}
    elif name.startswith("timesformer"):
        nearest = {"mode": "nearest"}
        expected = {
            "pos_embed": interpolated(old["pos_embed"][0, 1:], (h, w), (h2, w2), **nearest),
            "time_embed": interpolated(old["time_embed"][0], (t,), t2, **nearest),
        }
    elif name.startswith("mvit_v1"):
        expected = {
            "spatial_positions": interpolated(old["spatial_positions"], (h, w), (h2, w2), mode="bicubic"),
            "temporal_positions": interpolated(old["temporal_positions"], (t,), t2, mode="linear"),
        }
    else:
        expected = {p: interpolated(old[p], (len(old[p]),), len(new[p]), mode="linear") for p in resized}
    for path, table in expected.items():
        made = np.asarray(new[path]).reshape(-1, new[path].shape[-1])
        np.testing.assert_allclose(made[-len(table) :], table, atol=1e-4)
