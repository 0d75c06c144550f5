"""X3D: widths and depths, the two forms of its first shortcut, larger clips, and that a shrunk one trains."""

import chex
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from tests.models.abstract import params_of
from tests.models.small import draw
from vidjax.models import get_spec
from vidjax.models.families.x3d import X3D, squeezed_width


def tiny(**kwargs):
    sizes = {"widths": (8, 16), "depths": (1, 1), "depth_factor": 1.0, "out_features": 32, "num_frames": 4, "size": 64}
    return X3D(3, **(sizes | {"dropout": 0.0} | kwargs), rngs=nnx.Rngs(0))


@pytest.mark.slow
def test_width_and_depth():
    small, large = params_of("x3d_m"), params_of("x3d_l")
    for shapes, depths in ((small, (3, 5, 11, 7)), (large, (5, 10, 25, 15))):
        blocks = {tuple(path.split(".")[1:3]) for path in shapes if path.startswith("stages.")}
        assert [sum(stage == str(s) for stage, _ in blocks) for s in range(4)] == list(depths)
    assert [small[f"stages.{s}.1.conv2.kernel"] for s in range(4)] == [(3, 3, 3, 1, n) for n in (54, 108, 216, 432)]
    assert small["stem.spatial.kernel"] == (1, 3, 3, 3, 24) and small["stem.temporal.kernel"] == (5, 1, 1, 1, 24)
    # Every other block weighs its channels.
    assert "stages.2.10.squeeze.fc1.kernel" in small and "stages.2.9.squeeze.fc1.kernel" not in small


def test_width_of_squeeze_and_excitation():
    assert [squeezed_width(n) for n in (54, 108, 216, 432)] == [8, 8, 16, 32]


def test_only_the_first_shortcut_may_lack_a_norm():
    plain, normed = params_of("x3d_m"), params_of("x3d_m", norm_every_shortcut=True)
    assert normed.keys() - plain.keys() == {"stages.0.0.shortcut.norm.scale", "stages.0.0.shortcut.norm.bias"}
    assert "stages.1.0.shortcut.norm.scale" in plain and "stages.0.1.shortcut.conv.kernel" not in plain


@pytest.mark.parametrize(
    ("name", "clip", "resize"),
    [
        ("x3d_xs", (4, 12, 160), 182),
        ("x3d_s", (13, 6, 160), 182),
        ("x3d_m", (16, 5, 224), 256),
        ("x3d_l", (16, 5, 312), 356),
    ],
)
def test_published_protocol(name, clip, resize):
    spec = get_spec(name)
    assert (spec.video.num_frames, spec.video.stride, spec.video.size) == clip and spec.video.resize == (resize,)
    assert spec.video.mean == (0.45,) * 3 and spec.video.std == (0.225,) * 3


@pytest.mark.slow
def test_a_larger_clip_has_several_windows_whose_probabilities_are_averaged():
    model = tiny(num_frames=2)
    model.head.kernel[...] = 4 * draw(model.head.kernel.shape)  # answers that differ from window to window
    model.eval()
    run = jax.jit(lambda video: (model(video), model.features(video), model.encode(video).windows))
    logits, features, pooled = run(draw((2, 3, 96, 64, 3)))
    # The last map is 3×12×8 here; the window for 2 frames of 64² is 2×2×2.
    chex.assert_shape((logits, features, pooled), [(2, 3), (2, 32), (2, 2, 11, 7, 32)])
    wanted = jax.nn.softmax(model.head.each(pooled)).mean(axis=(1, 2, 3))
    chex.assert_trees_all_close(jax.nn.softmax(logits), wanted, atol=1e-5)
    assert float(jnp.abs(jax.nn.softmax(model.head(features)) - wanted).max()) > 1e-3


def test_a_clip_smaller_than_the_window_is_averaged_whole():
    model = tiny(num_frames=8, size=320)
    model.eval()
    pooled, logits = jax.jit(lambda video: (model.encode(video).windows, model(video)))(draw((2, 2, 32, 32, 3)))
    chex.assert_shape(pooled, (2, 1, 1, 1, 32))
    chex.assert_trees_all_close(logits, model.head.each(pooled[:, 0, 0, 0]), atol=1e-5)
