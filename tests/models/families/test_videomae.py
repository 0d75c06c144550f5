"""Shapes of the named models against the reference's, and how a tiny one behaves. Goldens: tests/weights."""

import collections
import csv
import math

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.abstract import drawn, params_of
from vidjax.models.families.videomae import VARIANTS, VideoMAE
from vidjax.models.state import split
from vidjax.nn.positions import sinusoid_table

PUBLISHED = [name for name in VARIANTS if name != "videomae_tiny"]
SECOND = [name for name in PUBLISHED if name.startswith("videomaev2")]
REFERENCE = {  # the reference material has no listing of the huge one
    name: f"{name.replace('videomae', 'videomae_mcg_vit')}_patch16_224" for name in PUBLISHED[:3]
}
TINY = {"dim": 32, "depth": 2, "heads": 4, "num_frames": 4, "size": 32}


def tiny(num_classes=3, **kwargs):
    return VideoMAE(num_classes, **{**TINY, **kwargs}, rngs=nnx.Rngs(0))


def clips(batch=4, seed=0, shape=(4, 32, 32)):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((batch, *shape, 3)), jnp.float32)


@pytest.mark.parametrize("name", REFERENCE)
def test_named_models_have_the_references_parameters(shared, name):
    variant = VARIANTS[name]
    model = nnx.eval_shape(lambda: variant.build(variant.spec.num_classes, rngs=nnx.Rngs(0), **variant.kwargs))
    _, params, stats = split(model)
    assert not stats
    with open(shared / "reference" / "models.tsv", newline="") as file:
        counts = {row["name"]: int(row["params"]) for row in csv.DictReader(file, delimiter="\t")}
    assert sum(math.prod(p.shape) for p in params.values()) == counts[REFERENCE[name]]
    keys = (shared / "reference" / "checkpoint-keys" / f"{REFERENCE[name]}.tsv").read_text().splitlines()
    theirs = (tuple(map(int, line.split("\t")[1].split("x"))) for line in keys)
    # Layouts differ in the order of axes only.
    ours = collections.Counter(tuple(sorted(p.shape)) for p in params.values())
    assert ours == collections.Counter(tuple(sorted(shape)) for shape in theirs)
    assert all(p.dtype == jnp.float32 for p in params.values())


def test_huge_has_the_parameters_of_its_size():
    """By hand: ViT-H of 32 blocks, 1280 features, biases of queries and values but not of keys."""
    dim, block = 1280, 12 * 1280**2 + (2 + 1 + 4 + 1) * 1280 + 4 * 1280
    expected = 2 * 16 * 16 * 3 * dim + dim + 32 * block + 2 * dim + dim * 400 + 400
    assert sum(math.prod(shape) for shape in params_of("videomae_huge").values()) == expected


def test_specs_are_the_published_protocol():
    for name in PUBLISHED:
        spec = VARIANTS[name].spec
        assert spec.name == name
        video, classes = spec.video, 710 if name.endswith("k710") else 400
        assert (video.num_frames, video.stride, video.size, video.resize) == (16, 4, 224, (224,))
        assert spec.num_classes == classes
        assert spec.video.mean == (0.485, 0.456, 0.406)
        assert spec.video.std == (0.229, 0.224, 0.225)
        sources = ("videomae", "transformers", "mmaction2", "vit_timm", "vit_torchvision")
        assert spec.sources == (sources[::2][:2] if name in SECOND else sources[:2] if "huge" in name else sources)


@pytest.mark.slow
def test_model_protocol():
    model = tiny()
    model.eval()
    video = clips(2)
    features = model.features(video)
    chex.assert_shape(features, (2, 32))
    assert isinstance(model.head, nnx.Linear)
    np.testing.assert_allclose(model(video), model.head(features), rtol=1e-6)
    # Layer norm with fresh weights: every sample has mean 0 and variance 1.
    np.testing.assert_allclose(features.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(features.var(axis=1), 1, atol=1e-3)
    assert isinstance(hash(split(model)[0]), int)


@pytest.mark.slow
def test_order_of_frames_matters():
    model = tiny()
    model.eval()
    video = clips(1)
    assert float(jnp.abs(model.features(video) - model.features(video[:, ::-1])).max()) > 1e-3


def test_positions_follow_the_input():
    model = tiny(depth=0)
    model.eval()
    model.patch_embed.kernel[...] = jnp.zeros(model.patch_embed.kernel.shape)

    def mean_position(shape):
        return model.features(jnp.zeros((1, *shape, 3)))[0]

    def normalised(x):
        return (x - x.mean()) / np.sqrt(x.var() + 1e-6)

    expected = normalised(sinusoid_table(2 * 2 * 2, 32).mean(axis=0))
    np.testing.assert_allclose(mean_position((4, 32, 32)), expected, atol=1e-5)
    # Interpolated evenly, the table keeps its mean; a sinusoid made for the other number of tokens has another one.
    for shape in ((8, 32, 32), (2, 32, 32), (4, 16, 48)):
        np.testing.assert_allclose(mean_position(shape), expected, atol=1e-5)
    assert np.abs(normalised(sinusoid_table(4 * 2 * 2, 32).mean(axis=0)) - expected).max() > 0.1
    with pytest.raises(ValueError, match="4×40×32 does not divide into tubelets of 2×16×16"):
        mean_position((4, 40, 32))


def test_the_head_starts_as_small_as_asked():
    small, large = (split(tiny(100, head_init_scale=scale))[1]["head.kernel"] for scale in (0.001, 1.0))
    np.testing.assert_allclose(1000 * small, large, rtol=1e-5)
    np.testing.assert_allclose(large.std(), 0.02, rtol=0.1)


def test_drop_path_rises_linearly_with_depth():
    model = nnx.eval_shape(lambda: VideoMAE(3, dim=8, depth=5, heads=2, drop_path=0.2, rngs=nnx.Rngs(0)))
    np.testing.assert_allclose([block.drop_path.rate for block in model.blocks], [0, 0.05, 0.1, 0.15, 0.2])


def test_tokens_have_their_grid_and_are_the_map():
    model = drawn(lambda rngs: VideoMAE(3, **TINY, in_channels=2, rngs=rngs))
    video = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 32, 48, 2)), jnp.float32)
    parts = nnx.jit(lambda model, video: model.encode(video))(model, video)
    assert parts.grid == (2, 2, 3) and list(parts.maps) == [16] and model.channels == 2
    np.testing.assert_array_equal(parts.maps[16].reshape(2, 12, 32), parts.tokens)
    np.testing.assert_allclose(parts.pooled, model.fc_norm(parts.tokens.mean(axis=1)), atol=1e-5)
