"""VideoMAE's tables: every published naming fills the model exactly, and the logits are the reference's."""

import jax
import numpy as np
import pytest
from flax import nnx

from tests.golden import golden, relative_error
from vidjax.models.state import merge, split
from vidjax.models.videomae import VARIANTS, VideoMAE
from vidjax.weights import load_pretrained
from vidjax.weights.mapping import convert, recognise
from vidjax.weights.read import CheckpointError

# A twelve-layer miniature whose sizes replace those of the key lists, so that arrays cost nothing.
MINIATURE = {768: 8, 2304: 24, 3072: 32, 400: 5, 16: 4, 1568: 2}


def shapes_of(model) -> dict[str, tuple[int, ...]]:
    return {path: array.shape for path, array in split(model)[1].items()}


def keys(shared, name: str) -> dict[str, tuple[int, ...]]:
    lines = (shared / "reference" / "checkpoint-keys" / f"{name}.tsv").read_text().splitlines()
    return {line.split("\t")[0]: tuple(map(int, line.split("\t")[1].split("x"))) for line in lines}


@pytest.fixture(scope="module")
def miniature() -> dict[str, tuple[int, ...]]:
    model = nnx.eval_shape(
        lambda: VideoMAE(5, dim=8, depth=12, heads=2, num_frames=4, size=4, tubelet=(2, 4, 4), rngs=nnx.Rngs(0))
    )
    return shapes_of(model)


def small_state(shared, name: str, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {key: tuple(MINIATURE.get(n, n) for n in shape) for key, shape in keys(shared, name).items()}
    return {key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}


@pytest.mark.parametrize(
    ("listing", "name", "source"),
    [
        ("videomae_mcg_vit_small_patch16_224", "videomae_small", "videomae"),
        ("videomae_mcg_vit_base_patch16_224", "videomae_base", "videomae"),
        ("videomae_mcg_vit_large_patch16_224", "videomae_large", "videomae"),
        ("hf4_videomae_base_cls", "videomae_base", "transformers"),
        ("hf5_videomae_base_cls", "videomae_base", "transformers"),
        ("mmaction2_videomae", "videomae_base", "mmaction2"),
    ],
)
def test_every_published_key_and_shape_has_its_place(shared, listing, name, source):
    variant = VARIANTS[name]
    model = nnx.eval_shape(lambda: variant.build(400, rngs=nnx.Rngs(0), **variant.kwargs))
    # Zeros of no extent in memory, of the right shape.
    state = {key: np.broadcast_to(np.float32(0), shape) for key, shape in keys(shared, listing).items()}
    table = recognise(state, name)
    assert table.name == source
    assert source in variant.spec.sources
    assert convert(state, table, shapes_of(model)).keys() == shapes_of(model).keys()


def test_layouts_and_the_order_of_queries_keys_values(shared, miniature):
    state = small_state(shared, "hf4_videomae_base_cls")
    params = convert(state, recognise(state, "videomae_base"), miniature)
    attention = "videomae.encoder.layer.3.attention.attention"
    for part, columns in (("query", slice(0, 8)), ("key", slice(8, 16)), ("value", slice(16, 24))):
        weight = state[f"{attention}.{part}.weight"]
        np.testing.assert_array_equal(params["blocks.3.attn.qkv.kernel"][:, columns], weight.T)
    np.testing.assert_array_equal(params["blocks.3.attn.v_bias"], state[f"{attention}.v_bias"])
    patches = state["videomae.embeddings.patch_embeddings.projection.weight"]
    np.testing.assert_array_equal(params["patch_embed.kernel"], patches.transpose(2, 3, 4, 1, 0))
    before = state["videomae.encoder.layer.3.layernorm_before.weight"]
    np.testing.assert_array_equal(params["blocks.3.norm1.scale"], before)


def original_names(state):
    """A transformers 4 state dict under the names of the VideoMAE repository."""
    names = {
        "videomae.embeddings.patch_embeddings.projection": "patch_embed.proj",
        "videomae.encoder.layer": "blocks",
        "attention.output.dense": "attn.proj",
        "attention.attention": "attn",
        "intermediate.dense": "mlp.fc1",
        "output.dense": "mlp.fc2",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "classifier": "head",
    }
    out = {}
    for key, array in state.items():
        for theirs, ours in names.items():
            key = key.replace(theirs, ours)
        out[key] = array
    for i in range(12):
        parts = [out.pop(f"blocks.{i}.attn.{part}.weight") for part in ("query", "key", "value")]
        out[f"blocks.{i}.attn.qkv.weight"] = np.concatenate(parts)
    return out


@pytest.mark.parametrize("naming", ["transformers 5", "original", "original in a wrapper", "mmaction2"])
def test_all_namings_give_the_same_parameters(shared, miniature, naming):
    state = small_state(shared, "hf4_videomae_base_cls")
    expected = convert(state, recognise(state, "videomae_base"), miniature)
    if naming == "transformers 5":
        renamed = {key.replace(".q_bias", ".query.bias").replace(".v_bias", ".value.bias"): state[key] for key in state}
        listing = "hf5_videomae_base_cls"
    else:
        renamed = original_names(state)
        listing = "videomae_mcg_vit_base_patch16_224"
    if naming == "mmaction2":
        swaps = {"patch_embed.proj.": "patch_embed.projection.", "fc1": "layers.0.0", "fc2": "layers.1"}
        for old, new in swaps.items():
            renamed = {key.replace(old, new): array for key, array in renamed.items()}
        renamed = {
            key.replace("head", "cls_head.fc_cls") if key.startswith("head") else f"backbone.{key}": array
            for key, array in renamed.items()
        }
        renamed["backbone.pos_embed"] = np.zeros((1, 2, 8), np.float32)
        listing = "mmaction2_videomae"
    assert renamed.keys() == keys(shared, listing).keys()
    if naming == "original in a wrapper":
        renamed = {key if key.startswith("head") else f"encoder.{key}": array for key, array in renamed.items()}
    params = convert(renamed, recognise(renamed, "videomae_base"), miniature)
    assert params.keys() == expected.keys()
    for path, array in expected.items():
        np.testing.assert_array_equal(params[path], array, err_msg=path)


def test_a_bias_of_the_keys_is_not_dropped(shared, miniature):
    state = small_state(shared, "hf5_videomae_base_cls")
    key = "videomae.encoder.layer.0.attention.attention.key.bias"
    state[key] = np.ones(8, np.float32)
    with pytest.raises(CheckpointError, match=key):
        convert(state, recognise(state, "videomae_base"), miniature)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("videomae_mcg_vit_base_patch16_224_16x224", "videomae_base"),
        ("hf_videomae_small_cls_16x224", "videomae_small"),
        ("hf_videomae_base_cls_16x224", "videomae_base"),
        ("hf_videomae_large_cls_16x224", "videomae_large"),
    ],
)
def test_logits_are_the_references(reference, name):
    expected = golden(reference)
    graphdef, *arrays = split(load_pretrained(name, expected.state))
    logits = jax.jit(lambda video: merge(graphdef, *arrays)(video))
    assert relative_error(logits(expected.video), expected.logits) < 1e-4
    assert relative_error(logits(expected.coarse_video), expected.coarse_logits) < 1e-4
