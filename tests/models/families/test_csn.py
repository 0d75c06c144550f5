"""CSN: where channels mix and where pixels do, the published protocols, and that a shrunk one trains."""

import chex
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from tests.models.abstract import abstract, params_of
from tests.models.small import draw, overfit
from vidjax.models import get_spec, list_models
from vidjax.models.families.csn import CSN, VARIANTS


def tiny(**kwargs):
    return CSN(3, **({"depths": (1, 1), "width": 8} | kwargs), rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    ("name", "depths"),
    [
        ("csn_r101", (3, 4, 23, 3)),
        ("csn_ir_r50", (3, 4, 6, 3)),
        ("csn_ir_r152", (3, 8, 36, 3)),
        ("csn_ip_r152", (3, 8, 36, 3)),
    ],
)
def test_depth_and_what_mixes_channels(name, depths):
    shapes = params_of(name)
    for stage, depth in enumerate(depths):
        assert f"stages.{stage}.{depth - 1}.conv3.kernel" in shapes
        assert f"stages.{stage}.{depth}.conv3.kernel" not in shapes
    assert shapes["stages.3.2.conv2.kernel"] == (3, 3, 3, 1, 512)
    # Besides the stem's, no kernel both looks around and mixes channels.
    both = [p for p, shape in shapes.items() if len(shape) == 5 and shape[:3] != (1, 1, 1) and shape[3] > 1]
    assert both == ["stem.conv.kernel"]
    assert ("stages.0.0.mix.conv.kernel" in shapes) == name.startswith("csn_ip")


def test_every_named_network_has_the_published_protocol():
    assert set(VARIANTS) == set(list_models("csn_*"))
    for name in VARIANTS.keys() - {"csn_tiny"}:
        spec = get_spec(name)
        assert (spec.num_frames, spec.stride, spec.size, spec.resize) == (32, 2, 224, (256,))
    assert get_spec("csn_r101").mean == (0.45,) * 3
    assert get_spec("csn_ir_r152").mean == (0.485, 0.456, 0.406)


def test_epsilon_of_every_norm():
    def epsilons(name):
        return {module.epsilon for _, module in nnx.iter_modules(abstract(name)) if isinstance(module, nnx.BatchNorm)}

    assert epsilons("csn_r101") == {1e-5}
    assert epsilons("csn_ip_r152") == epsilons("csn_ir_r50") == {1e-3}


@pytest.mark.slow
def test_it_overfits_three_clips():
    model = tiny(preserved=True, remat="full", zero_init=True, dropout=0.1)
    losses = overfit(model, draw((3, 2, 16, 16, 3)), steps=20, rate=0.2)
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.slow
def test_the_window_of_the_head():
    video = draw((1, 5, 24, 16, 3))
    for window, positions in ((None, (1, 1, 1)), ((2, 3, 1), (4, 4, 4))):
        model = tiny(depths=(1,), window=window)
        model.head.kernel[...] = draw(model.head.kernel.shape)
        model.eval()
        pooled, features, logits = jax.jit(lambda v, m=model: (m.encode(v).windows, m.features(v), m(v)))(video)
        chex.assert_shape((pooled, features), [(1, *positions, 32), (1, 32)])
        wanted = jnp.log(jax.nn.softmax(model.head.each(pooled)).mean(axis=(1, 2, 3)))
        chex.assert_trees_all_close(jax.nn.log_softmax(logits), wanted, atol=1e-5)
