"""The masked autoencoder: sizes, masks, targets, what the encoder sees. Goldens: tests/weights."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.abstract import abstract, drawn, params_of
from tests.peers import needs
from vidjax.models.families import videomae
from vidjax.models.families.videomae_pretrain import VARIANTS, VideoMAEPretrain
from vidjax.models.registry import get_spec
from vidjax.models.state import merge, split
from vidjax.nn.patches import from_patches, to_patches

TINY = {"dim": 16, "depth": 2, "heads": 2, "decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2, "num_frames": 4,
        "size": 16, "tubelet": (2, 4, 4), "mask_ratio": 0.75}  # fmt: skip
GRID, TOKENS, HIDDEN = (2, 4, 4), 32, 24


def tiny(**kwargs):
    model = VideoMAEPretrain(**{**TINY, **kwargs}, rngs=nnx.Rngs(0))
    model.eval()
    return model


def pixels(batch=2, seed=0):
    return jnp.asarray(np.random.default_rng(seed).random((batch, 4, 16, 16, 3)), jnp.float32)


def masks(model, batch=2, seed=0):
    return model.draw_masks(jax.random.split(jax.random.key(seed), batch), GRID)


@pytest.mark.slow
def test_sizes_are_the_published_ones():
    sizes = {"small": (384, 12, 192, 4), "base": (768, 12, 384, 4), "large": (1024, 24, 512, 12),
             "huge": (1280, 32, 640, 12)}  # fmt: skip
    for size, (dim, depth, decoder_dim, decoder_depth) in sizes.items():
        params = params_of(f"videomae_{size}_pretrain")
        assert params["encoder_to_decoder.kernel"] == (dim, decoder_dim) and params["norm.scale"] == (dim,)
        assert params["decoder.head.kernel"] == (decoder_dim, 1536) and params["mask_token"] == (1, 1, decoder_dim)
        assert f"blocks.{depth - 1}.norm1.scale" in params and f"blocks.{depth}.norm1.scale" not in params
        assert f"decoder.blocks.{decoder_depth - 1}.norm1.scale" in params
        assert f"decoder.blocks.{decoder_depth}.norm1.scale" not in params
        spec = get_spec(f"videomae_{size}_pretrain")
        assert (spec.task, spec.num_classes, spec.video.num_frames, spec.video.stride) == ("reconstruct", 0, 16, 4)


def test_the_encoder_has_the_paths_of_the_classifier():
    for size in ("tiny", "base"):
        classifier, pretrain = params_of(f"videomae_{size}"), params_of(f"videomae_{size}_pretrain")
        encoder = {path: shape for path, shape in classifier.items() if path.startswith(("patch_embed.", "blocks."))}
        assert encoder.items() <= pretrain.items()
        assert classifier.keys() - encoder.keys() == {"fc_norm.scale", "fc_norm.bias", "head.kernel", "head.bias"}


@pytest.mark.slow
@settings(deadline=None, max_examples=5)
@given(ratio=st.floats(0.1, 0.93), seed=st.integers(0, 100))
def test_tubes_hide_the_same_places_at_all_times(ratio, seed):
    model = abstract_with(ratio)
    mask = np.asarray(model.draw_masks(jax.random.split(jax.random.key(seed), 3), GRID)).reshape(3, *GRID)
    assert (mask == mask[:, :1]).all()
    assert (mask.sum(axis=(2, 3)) == int(ratio * 16 + 1e-9)).all()


@pytest.mark.slow
@settings(deadline=None, max_examples=5)
@given(ratio=st.floats(0.1, 0.9), seed=st.integers(0, 100))
def test_tokens_and_frames_are_hidden_one_by_one(ratio, seed):
    keys, grid = jax.random.split(jax.random.key(seed), 3), (12, 2, 4)
    model = abstract_with(ratio, masking="token")
    mask = np.asarray(model.draw_masks(keys, grid)).reshape(3, *grid)
    assert (mask.sum(axis=(1, 2, 3)) == int(ratio * 96 + 1e-9)).all() and model.num_hidden(grid) == mask[0].sum()
    assert (mask != mask[:, :1]).any()
    model = abstract_with(ratio, masking="frame", num_frames=24, size=16)
    mask = np.asarray(model.draw_masks(keys, grid)).reshape(3, *grid)
    assert (mask == mask[:, :, :1, :1]).all()
    assert (mask[:, :, 0, 0].sum(axis=1) == int(ratio * 12 + 1e-9)).all() and model.num_hidden(grid) == mask[0].sum()


def abstract_with(ratio, **kwargs):
    return nnx.eval_shape(lambda: VideoMAEPretrain(**{**TINY, "mask_ratio": ratio, **kwargs}, rngs=nnx.Rngs(0)))


def test_masks_follow_from_their_keys_alone_and_are_spread_evenly():
    model = abstract_with(0.75)
    draw = jax.jit(lambda keys: model.draw_masks(keys, GRID))
    keys = jax.random.split(jax.random.key(0), 400)
    drawn = np.asarray(draw(keys))
    np.testing.assert_array_equal(draw(keys[::-1]), drawn[::-1])
    assert (drawn[0] != drawn[1]).any()
    share = drawn.mean(axis=0)
    assert np.abs(share - 0.75).max() < 6 * np.sqrt(0.75 * 0.25 / 400)


def test_a_ratio_that_hides_nothing_or_everything_is_refused():
    for ratio in (0.05, 1.0):
        with pytest.raises(ValueError, match=f"mask_ratio = {ratio} hides .* of 16 tubes"):
            abstract_with(ratio)
    with pytest.raises(ValueError, match=r"mask_ratio = 0\.4 hides 0 of 2 frames"):
        abstract_with(0.4, masking="frame")
    with pytest.raises(ValueError, match="masking = 'tubes': must be one of tube, token, frame"):
        abstract_with(0.5, masking="tubes")


@pytest.mark.slow
def test_protocol():
    model = tiny()
    mask = masks(model)
    assert mask.shape == (2, TOKENS) and (mask.sum(axis=1) == HIDDEN).all()
    predicted = model(pixels(), mask)
    chex.assert_shape(predicted, (2, HIDDEN, 2 * 4 * 4 * 3))
    chex.assert_shape(model.features(pixels()), (2, 16))
    assert jax.eval_shape(lambda video: model(video), pixels()).shape == predicted.shape  # with a mask of its own
    for wrong in (mask[:, :-1], jnp.zeros_like(mask)):
        with pytest.raises(ValueError, match=r"must be \(2, 32\) with 24 hidden tokens"):
            model(pixels(), wrong)


@pytest.mark.slow
def test_hidden_pixels_reach_neither_encoder_nor_prediction():
    model = tiny()
    mask, video = masks(model), pixels()
    tubelets = to_patches(video, (2, 4, 4))
    other = from_patches(jnp.where(mask[..., None], 7.0, tubelets), (2, 4, 4), GRID)
    np.testing.assert_array_equal(model(video, mask), model(other, mask))
    other = from_patches(jnp.where(mask[..., None], tubelets, 7.0), (2, 4, 4), GRID)
    assert float(jnp.abs(model(video, mask) - model(other, mask)).max()) > 1e-3


@pytest.mark.parametrize("positions", ["index", "axes"])
def test_each_network_adds_the_positions_it_was_built_with(positions, monkeypatch):
    """The same table in encoder, decoder and classifier."""
    asked = []
    of = videomae.fixed_positions

    def watched(kind, mode="linear"):
        asked.append(kind)
        return of(kind, mode)

    monkeypatch.setattr(videomae, "fixed_positions", watched)
    model = tiny(positions=positions)
    jax.eval_shape(lambda video: model(video), pixels())
    kwargs = {k: v for k, v in TINY.items() if k != "mask_ratio" and not k.startswith("decoder")}
    classifier = videomae.VideoMAE(3, **kwargs, positions=positions, rngs=nnx.Rngs(0))
    jax.eval_shape(lambda video: classifier(video), pixels())
    assert set(asked) == {positions} and len(asked) == 5
    with pytest.raises(ValueError, match="positions = 'axis': must be one of index, axes"):
        tiny(positions="axis")


@pytest.mark.slow
def test_the_encoder_works_on_visible_tokens_alone():
    """Shapes of what its blocks are given."""
    model, seen = tiny(), []
    graphdef, params, stats = split(model)

    class Watch(nnx.Module):
        def __call__(self, x, grid=None, rngs=None):
            seen.append(x.shape)
            return x

    network = merge(graphdef, params, stats)
    network.blocks = nnx.List([Watch()])
    network.decoder.blocks = nnx.List([Watch()])
    network(pixels(), masks(model))
    assert seen == [(2, TOKENS - HIDDEN, 16), (2, TOKENS, 8)]


def test_targets_are_the_references():
    """Against the formula in torch: per tubelet and channel, unbiased, 1e-6; the order of pixels t, h, w, c."""
    torch = needs("torch")
    model = tiny()
    video, mask = pixels(), np.asarray(masks(model))
    blocks = torch.tensor(np.asarray(video)).reshape(2, 2, 2, 4, 4, 4, 4, 3).permute(0, 1, 3, 5, 2, 4, 6, 7)
    blocks = blocks.reshape(2, TOKENS, 32, 3)
    plain = blocks[torch.tensor(mask)].reshape(2, HIDDEN, 96).numpy()
    normal = (blocks - blocks.mean(2, keepdim=True)) / (blocks.var(2, unbiased=True, keepdim=True).sqrt() + 1e-6)
    normal = normal[torch.tensor(mask)].reshape(2, HIDDEN, 96).numpy()
    np.testing.assert_allclose(model.targets(video, mask), normal, atol=1e-4)
    np.testing.assert_array_equal(tiny(normalise_targets=False).targets(video, mask), plain)
    np.testing.assert_array_equal(model.targets(jnp.full_like(video, 0.3), mask), 0)  # a plain tubelet


@pytest.mark.parametrize("normalise", [True, False])
def test_pictures_of_a_perfect_prediction_are_the_original(normalise):
    model = tiny(normalise_targets=normalise)
    video, mask = pixels(), masks(model)
    masked, whole = model.pictures(video, model.targets(video, mask), mask)
    np.testing.assert_allclose(whole, video, atol=1e-4)
    grey = np.asarray(to_patches(masked, (2, 4, 4))) == 0.5
    np.testing.assert_array_equal(grey.all(axis=-1), mask)


@pytest.mark.slow
def test_positions_belong_to_places_not_to_the_order_of_tokens():
    """With nothing but positions, the prediction for a place is the same whatever else is hidden."""
    model = tiny(depth=0, decoder_depth=0)
    first, second = masks(model, 1, 0), masks(model, 1, 1)
    predicted = [np.asarray(model(pixels(1), mask)[0]) for mask in (first, second)]
    places = [np.flatnonzero(np.asarray(mask[0])) for mask in (first, second)]
    both = np.intersect1d(*places)
    assert len(both) > 4 and (places[0] != places[1]).any()
    rows = [p[np.searchsorted(where, both)] for p, where in zip(predicted, places, strict=True)]
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)
    assert np.abs(rows[0][0] - rows[0][-1]).max() > 1e-3


@pytest.mark.slow
def test_every_parameter_learns_and_the_loss_falls():
    model = tiny(drop_path=0.1, remat="full")
    model.train()
    graphdef, params, stats = split(model)
    # A ramp to the right and some noise: what is hidden can be told.
    video, mask = 0.1 * pixels(4) + 0.05 * jnp.arange(16.0).reshape(1, 1, 1, 16, 1), masks(model, 4)

    def loss(params):
        network = merge(graphdef, params, stats)
        return jnp.square(network(video, mask, rngs=nnx.Rngs(dropout=0)) - network.targets(video, mask)).mean()

    @jax.jit
    def step(params):
        value, gradients = jax.value_and_grad(loss)(params)
        unit = jax.tree.map(lambda g: g / (jnp.linalg.norm(g) + 1e-6), gradients)
        return jax.tree.map(lambda p, u: p - 0.03 * u, params, unit), value, gradients

    params, first, gradients = step(params)
    assert [path for path, gradient in gradients.items() if not np.abs(gradient).max() > 0] == []
    for _ in range(40):
        params, value, _ = step(params)
    assert float(value) < 0.8 * float(first)


@pytest.mark.slow
def test_bfloat16_is_close_and_gives_float32():
    exact, rounded = (tiny(dtype=dtype)(pixels(), masks(tiny())) for dtype in (None, jnp.bfloat16))
    assert rounded.dtype == jnp.float32
    assert 0 < float(jnp.linalg.norm(rounded - exact) / jnp.linalg.norm(exact)) < 0.03


def test_masking_makes_the_encoder_cheap():
    """Multiply-adds of a pre-training forward pass against the encoder's on all tokens."""
    from vidjax.models.cost import model_cost

    assert set(VARIANTS) > {"videomae_base_pretrain"}
    ratio = model_cost("videomae_base_pretrain").macs / model_cost("videomae_base").macs
    assert 0.1 < ratio < 0.35
    assert abstract("videomae_base_pretrain").masks.mask_ratio == 0.9


def test_without_a_mask_all_tokens_are_encoded_and_are_the_map():
    model = drawn(lambda rngs: VideoMAEPretrain(**TINY, rngs=rngs))
    parts = nnx.jit(lambda model, video: model.encode(video))(model, pixels())
    assert parts.grid == GRID and list(parts.maps) == [4]
    np.testing.assert_array_equal(parts.maps[4].reshape(2, TOKENS, 16), parts.tokens)
    np.testing.assert_allclose(parts.pooled, parts.tokens.mean(axis=1), atol=1e-6)


@pytest.mark.slow
def test_videos_of_other_channels_are_told_in_as_many():
    model = drawn(lambda rngs: VideoMAEPretrain(**TINY, in_channels=2, rngs=rngs))
    video, mask = pixels()[..., :2], masks(model)
    predicted = nnx.jit(lambda model, video, mask: model(video, mask))(model, video, mask)
    assert predicted.shape == model.targets(video, mask).shape == (2, HIDDEN, 2 * 4 * 4 * 2)
    whole = model.pictures(video, predicted, mask)[1]
    hidden = jnp.broadcast_to(mask[..., None], (2, TOKENS, 2 * 4 * 4 * 2))
    seen = ~from_patches(hidden, (2, 4, 4), GRID)
    assert whole.shape == video.shape
    np.testing.assert_array_equal(whole[seen], video[seen])
