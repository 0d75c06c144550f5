"""RoIAlign against the reference's kernel, and against its definition sample by sample."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.golden import FOLDER
from vidjax.nn.roi_align import roi_align

# setting of the golden: bins, ratio, aligned
SETTINGS = {
    "aligned_adaptive": (7, 0, True),
    "legacy_adaptive": (7, 0, False),
    "aligned_2": (7, 2, True),
    "legacy_2": (7, 2, False),
    "aligned_adaptive_other_size": (8, 0, True),
}


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("name", SETTINGS)
def test_equals_the_reference_kernel(name, x64):
    """13 boxes: the whole picture, tiny, partly and wholly outside of it, empty, inverted."""
    bins, ratio, aligned = SETTINGS[name]
    golden = np.load(FOLDER / "roi_align.npz")
    x = np.random.default_rng(5).standard_normal((2, 3, 14, 18)).astype(np.float32)
    maps = np.moveaxis(x, 1, -1)[golden["boxes"][:, 0].astype(int)]
    with jax.enable_x64(x64):
        dtype = jnp.float64 if x64 else jnp.float32
        run = jax.jit(lambda maps, boxes: roi_align(maps, boxes, (bins, bins), 1 / 16, ratio, aligned))
        found = run(jnp.asarray(maps, dtype), jnp.asarray(golden["boxes"][:, None, 1:], dtype))
    wanted = np.moveaxis(golden[f"{name}64"], 1, -1)
    assert np.abs(np.asarray(found)[:, 0] - wanted).max() < (1e-13 if x64 else 1e-5)


def by_definition(image, box, bins, ratio, aligned):
    """One box on one map (H, W) of stride 1, sample by sample."""
    x1, y1, x2, y2 = np.asarray(box, np.float64) - (0.5 if aligned else 0)
    wide, tall = (side if aligned else max(side, 1.0) for side in (x2 - x1, y2 - y1))
    across, down = (ratio or int(np.ceil(side / bins)) for side in (wide, tall))
    out = np.zeros((bins, bins))
    for (p, q), i, j in ((pq, i, j) for pq in np.ndindex(bins, bins) for i in range(down) for j in range(across)):
        y = y1 + (p + (i + 0.5) / down) * tall / bins
        x = x1 + (q + (j + 0.5) / across) * wide / bins
        if -1 <= y <= image.shape[0] and -1 <= x <= image.shape[1]:
            y, x = (float(np.clip(at, 0, n - 1)) for at, n in zip((y, x), image.shape, strict=True))
            rows, columns = (
                np.maximum(1 - abs(at - np.arange(n)), 0) for at, n in zip((y, x), image.shape, strict=True)
            )
            out[p, q] += rows @ image @ columns / (down * across)
    return out


@settings(max_examples=15, deadline=None)
@given(
    box=st.lists(st.integers(-160, 160), min_size=4, max_size=4),
    step=st.sampled_from([0.25, 1.0]),
    bins=st.sampled_from([3, 7]),
    ratio=st.sampled_from([0, 3]),
    aligned=st.booleans(),
)
def test_equals_the_definition_for_any_box(box, step, bins, ratio, aligned):
    """Also for boxes many times as large as the map, and for sides that are multiples of the number of bins."""
    image = np.random.default_rng(1).standard_normal((5, 6))
    corners = [side * step for side in box]
    # One program per setting, in float64, where samples on the border of the map are on the same side of it.
    with jax.enable_x64(True):
        found = RUNS[bins, ratio, aligned](jnp.asarray(image[None, :, :, None]), jnp.asarray([[corners]]))
    np.testing.assert_allclose(
        np.asarray(found)[0, 0, ..., 0], by_definition(image, corners, bins, ratio, aligned), atol=1e-12
    )


RUNS = {
    (bins, ratio, aligned): jax.jit(
        lambda maps, boxes, bins=bins, ratio=ratio, aligned=aligned: roi_align(
            maps, boxes, (bins, bins), 1.0, ratio, aligned
        )
    )
    for bins in (3, 7)
    for ratio in (0, 3)
    for aligned in (True, False)
}


def test_a_side_that_is_a_multiple_of_the_bins_has_no_sample_more():
    """In float32 as well, where 14 · (1 / 7) would be more than 2."""
    image = np.random.default_rng(2).standard_normal((1, 30, 30, 1)).astype(np.float32)
    boxes = np.asarray([[[1, 2, 1 + 7 * n, 2 + 7 * n] for n in (1, 2, 3)]], np.float32)
    found = jax.jit(lambda maps, boxes: roi_align(maps, boxes, scale=1.0))(image, boxes)
    for box, pooled in zip(boxes[0], np.asarray(found[0, ..., 0]), strict=True):
        np.testing.assert_allclose(pooled, by_definition(image[0, ..., 0], box, 7, 0, True), atol=1e-5)


@pytest.mark.slow
def test_padding_gives_zero_and_no_gradient():
    maps = jnp.ones((1, 4, 4, 2))
    boxes = jnp.asarray([[[0.0, 0.0, 64.0, 64.0], [0.0, 0.0, 0.0, 0.0]]])
    value, gradient = jax.value_and_grad(lambda maps: roi_align(maps, boxes)[0, 1].sum())(maps)
    assert value == 0 and not gradient.any()
    assert roi_align(maps.astype(jnp.bfloat16), boxes).dtype == jnp.bfloat16
    np.testing.assert_allclose(roi_align(maps, boxes)[0, 0], 1.0, rtol=1e-6)
