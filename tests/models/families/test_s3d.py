"""S3D and S3D-G: what sets them apart from Inception I3D and from each other; they train."""

import chex
import jax.numpy as jnp
import pytest
from flax import nnx

from tests.models.abstract import abstract
from tests.models.families.test_inception import TINY
from tests.models.small import draw, overfit
from vidjax.models import get_spec
from vidjax.models.families.s3d import VARIANTS
from vidjax.models.state import split

pytestmark = pytest.mark.usefixtures("plain_convolutions")


def make(name, **kwargs):
    variant = VARIANTS[name]
    small = {"stem_features": (4, 4, 6), "stages": TINY[:1], "momentum": 0.9, "dropout": 0.0}
    model = variant.build(3, rngs=nnx.Rngs(0), **{**variant.kwargs, **small, **kwargs})
    model.eval()
    return model


@pytest.mark.slow
def test_it_overfits_three_clips():
    """With gates, which S3D alone lacks."""
    losses = overfit(make("s3dg"), draw((3, 4, 12, 12, 3)), steps=15)
    assert losses[-1] < 0.5 * losses[0]


def test_space_and_time_apart_in_every_kernel():
    params = split(abstract("s3d"))[1]
    extents = {path: array.shape[:3] for path, array in params.items() if array.ndim == 5}
    assert extents["stem.0.spatial.conv.kernel"] == (1, 7, 7)
    assert extents["stem.0.temporal.conv.kernel"] == (7, 1, 1)
    assert set(extents.values()) == {(1, 7, 7), (7, 1, 1), (1, 3, 3), (3, 1, 1), (1, 1, 1)}


def test_gates_stand_behind_every_convolution_in_time():
    plain, gated = (split(abstract(name))[1] for name in ("s3d", "s3dg"))
    temporal = {path.removesuffix(".temporal.conv.kernel") for path in plain if path.endswith("temporal.conv.kernel")}
    assert len(temporal) == 2 + 2 * 9
    assert gated.keys() - plain.keys() == {
        f"{path}.gate.linear.{leaf}" for path in temporal for leaf in ("kernel", "bias")
    }


def test_a_gate_sees_what_happens_elsewhere_in_the_clip():
    """The last frames cannot reach the first ones' features through convolutions; through the gate they do."""
    video = draw((1, 24, 8, 8, 3))
    other = video.at[:, -8:].add(1.0)
    for name in ("s3d", "s3dg"):
        unit = make(name).stem[0]
        one, two = (nnx.jit(unit)(clip)[:, :4] for clip in (video, other))
        assert bool(jnp.array_equal(one, two)) == (name == "s3d")


def test_strided_layers_pad_half_the_kernel():
    model = make("s3d")
    assert model.stem[0].spatial.conv.padding == (0, 3, 3)
    assert model.stem[0].temporal.conv.padding == (3, 0, 0)
    # Windows of 3 start one pixel before the picture; those of 2 leave an odd last one out.
    x = jnp.arange(5.0).reshape(1, 1, 5, 1, 1)
    chex.assert_trees_all_equal(model._pool(x, (1, 3, 1), (1, 2, 1)).ravel(), jnp.array([1.0, 3.0, 4.0]))
    chex.assert_trees_all_equal(model._pool(x, (1, 2, 1), (1, 2, 1)).ravel(), jnp.array([1.0, 3.0]))


def test_published_settings():
    spec = get_spec("s3d")
    assert (spec.video.fps, spec.video.size, spec.video.resize, spec.video.mean[0], spec.video.std[0]) == (
        15,
        224,
        (256, 256),
        0.43216,
        0.22803,
    )
    model = VARIANTS["s3d"].build(3, stem_features=(4, 4, 6), stages=TINY, rngs=nnx.Rngs(0), **VARIANTS["s3d"].kwargs)
    assert model.dropout.rate == 0.2
    assert {m.momentum for _, m in nnx.iter_modules(model) if isinstance(m, nnx.BatchNorm)} == {0.999}
    assert get_spec("s3dg").sources == ()
