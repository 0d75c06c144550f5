"""V-JEPA 2: the reference's widths at every size, other clips, images, gradients."""

import jax
import numpy as np
import pytest
from flax import nnx

from tests.models.abstract import drawn, params_of
from vidjax.models.families.vjepa2 import VJEPA2
from vidjax.models.registry import get_spec

# hidden_size, num_hidden_layers, num_attention_heads, ⌊hidden_size·mlp_ratio⌋ of the published configurations
REFERENCE = {"large": (1024, 24, 16, 4096), "huge": (1280, 32, 16, 5120), "giant": (1408, 40, 22, 6144)}


def tiny(seed: int = 0, **kwargs) -> VJEPA2:
    sizes = {"dim": 32, "depth": 2, "heads": 2, "mlp": 48, "tubelet": (2, 4, 4), **kwargs}
    return drawn(lambda rngs: VJEPA2(3, rngs=rngs, **sizes), seed)


def clips(*shape: int) -> jax.Array:
    return jax.numpy.asarray(np.random.default_rng(1).standard_normal((*shape, 3)), np.float32)


@pytest.mark.slow(after=2)
@pytest.mark.parametrize(
    ("name", "width", "pooled"),
    [
        ("vjepa2_large", "large", False),
        ("vjepa2_huge", "huge", False),
        ("vjepa2_giant", "giant", False),
        ("vjepa2_giant_384", "giant", False),
        ("vjepa2_large_ssv2", "large", True),
        ("vjepa2_giant_384_ssv2", "giant", True),
        ("vjepa2_large_diving48", "large", True),
        ("vjepa2_giant_384_diving48", "giant", True),
    ],
)
def test_every_size_has_the_references_widths(name, width, pooled):
    dim, depth, _, hidden = REFERENCE[width]
    params = params_of(name)
    assert params["patch_embed.kernel"] == (2, 16, 16, 3, dim)
    assert {path.split(".")[1] for path in params if path.startswith("blocks.")} == {str(i) for i in range(depth)}
    assert params[f"blocks.{depth - 1}.mlp.fc1.kernel"] == (dim, hidden)
    assert params["blocks.0.attn.qkv.kernel"] == (dim, 3 * dim)
    assert ("pooler.query" in params) == pooled
    if pooled:
        # The pooler's MLPs are four times as wide as its tokens, the giant's too.
        assert params["pooler.blocks.2.mlp.fc1.kernel"] == params["pooler.cross.mlp.fc1.kernel"] == (dim, 4 * dim)
        assert "pooler.blocks.3.mlp.fc1.kernel" not in params
    assert get_spec(name).video.size == (384 if "384" in name else 256)


@pytest.mark.slow
def test_longer_and_larger_clips_and_images():
    model = tiny(pooler=True)
    assert model.tokens(clips(1, 8, 12, 16)).shape == (1, 4 * 3 * 4, 32)
    image = clips(1, 1, 8, 8)
    twice = np.repeat(image, 2, axis=1)
    np.testing.assert_array_equal(model(image), model(jax.numpy.asarray(twice)))
    with pytest.raises(ValueError, match="4×10×8 does not divide"):
        model(clips(1, 4, 10, 8))


@pytest.mark.slow
def test_positions_matter_and_the_mean_is_the_feature():
    model = tiny()
    video = clips(2, 4, 8, 8)
    features = model.features(video)
    np.testing.assert_allclose(features, model.tokens(video).mean(axis=1), rtol=1e-5)
    assert np.abs(np.asarray(features - model.features(video[:, ::-1, ::-1, ::-1]))).max() > 1e-2


def test_heads_must_divide():
    with pytest.raises(ValueError, match="heads = 3 does not divide dim = 32"):
        tiny(heads=3)
    with pytest.raises(ValueError, match="heads = 5 does not divide dim = 32"):
        tiny(pooler=True, pooler_heads=5)


@pytest.mark.slow
def test_remat_changes_nothing():
    video = clips(1, 4, 8, 8)

    def gradient(remat):
        model = tiny(pooler=True, pooler_depth=1, depth=1, remat=remat)
        return nnx.jit(nnx.grad(lambda m: (m(video) ** 2).sum()))(model)

    plain, again = (jax.tree.leaves(gradient(remat)) for remat in ("", "full"))
    assert all(np.asarray(leaf).any() for leaf in plain)
    for one, other in zip(plain, again, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_tokens_have_their_grid_and_are_the_map():
    model = tiny(in_channels=2)
    parts = model.encode(clips(1, 4, 8, 12)[..., :2])
    assert parts.grid == (2, 2, 3) and list(parts.maps) == [4]
    np.testing.assert_array_equal(parts.maps[4].reshape(1, 12, 32), parts.tokens)
