"""VideoMAE's tables: every published naming fills the model exactly, and the logits are the reference's."""

import logging
import math

import numpy as np
import pytest
from flax import nnx

from tests.golden import golden, relative_error
from tests.models.abstract import drawn, params_of
from tests.weights.answers import compiled, errors
from tests.weights.listing import published_keys
from vidjax.models.families.videomae import VARIANTS, VideoMAE
from vidjax.models.registry import get_spec
from vidjax.models.state import split
from vidjax.weights import load_into, load_pretrained
from vidjax.weights.mapping import conversion, convert
from vidjax.weights.read import CheckpointError
from vidjax.weights.table import recognise

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
        pytest.param("videomae_mcg_vit_base_patch16_224", "videomae_base", "videomae", marks=pytest.mark.slow),
        pytest.param("videomae_mcg_vit_large_patch16_224", "videomae_large", "videomae", marks=pytest.mark.slow),
        pytest.param("hf4_videomae_base_cls", "videomae_base", "transformers", marks=pytest.mark.slow),
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


@pytest.mark.slow(first=1)
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
    assert max(errors(reference, name)) < 1e-4


# Listing → model, further arguments, source.
PRETRAINING = {
    "videomae_mcg_pretrain_base": ("videomae", {"decoder_depth": 8}),  # the constructor's; published runs have 4
    "hf4_videomae_base_pretrain": ("transformers", {"encoder_norm": False}),
    "hf5_videomae_base_pretrain": ("transformers", {"encoder_norm": False}),
}


@pytest.mark.parametrize("listing", PRETRAINING)
def test_every_key_of_a_pre_training_network_has_its_place(shared, listing):
    source, kwargs = PRETRAINING[listing]
    state = published_keys(shared, listing)
    table, wanted = recognise(state, "videomae_base_pretrain"), params_of("videomae_base_pretrain", **kwargs)
    assert table.name == source and table.name in get_spec("videomae_base_pretrain").sources
    assert convert(state, table, wanted).keys() == wanted.keys()
    assert sum(array.size for array in state.values()) == sum(map(math.prod, wanted.values()))


@pytest.mark.parametrize("listing", PRETRAINING)
def test_a_classifier_takes_the_encoder_and_names_the_rest(shared, listing):
    state = published_keys(shared, listing)
    table, wanted = recognise(state, "videomae_base"), params_of("videomae_base")
    made = conversion(state, table, wanted, allow_head_mismatch=True)
    new = {"fc_norm.scale", "fc_norm.bias", "head.kernel", "head.bias"}
    assert set(made.fresh) == new and made.arrays.keys() == wanted.keys() - new
    prefixes = {key.split(".")[0] for key in made.dropped}
    assert prefixes - {"encoder"} == {"mask_token", "encoder_to_decoder", "decoder"}
    assert {key for key in made.dropped if key.startswith("encoder.")} <= {"encoder.norm.weight", "encoder.norm.bias"}
    state["encoder.blocks.0.gamma"] = state["mask_token"]
    with pytest.raises(CheckpointError, match="gamma"):
        conversion(state, table, wanted, allow_head_mismatch=True)


def test_what_a_classifier_leaves_out_is_reported(caplog):
    """From a pre-training state dict of a network of one block."""
    model = drawn(lambda rngs: VideoMAE(3, dim=8, depth=1, heads=2, num_frames=2, size=4, tubelet=(2, 4, 4), rngs=rngs))
    shapes = {
        "mask_token": (1, 1, 4),
        "encoder.patch_embed.proj.weight": (8, 3, 2, 4, 4), "encoder.patch_embed.proj.bias": (8,),
        "encoder.norm.weight": (8,), "encoder.norm.bias": (8,), "encoder_to_decoder.weight": (4, 8),
        "decoder.blocks.0.norm1.weight": (4,), "decoder.blocks.1.norm1.weight": (4,), "decoder.head.weight": (96, 4),
        "encoder.blocks.0.attn.qkv.weight": (24, 8), "encoder.blocks.0.attn.proj.weight": (8, 8),
        "encoder.blocks.0.mlp.fc1.weight": (32, 8), "encoder.blocks.0.mlp.fc1.bias": (32,),
        "encoder.blocks.0.mlp.fc2.weight": (8, 32),
        **{f"encoder.blocks.0.{name}": (8,) for name in (
            "norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "attn.q_bias", "attn.v_bias", "attn.proj.bias",
            "mlp.fc2.bias")},
    }  # fmt: skip
    rng = np.random.default_rng(0)
    state = {key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}
    before = split(model)[1]["head.kernel"]
    with caplog.at_level(logging.WARNING, "vidjax"):
        report = load_into(model, state, name="videomae_base")
    np.testing.assert_array_equal(model.blocks[0].mlp.fc2.kernel[...], state["encoder.blocks.0.mlp.fc2.weight"].T)
    np.testing.assert_array_equal(split(model)[1]["head.kernel"], before)
    assert "decoder.head.weight" in report.dropped and report.checkpoint_classes is None
    assert "having no place in the model: mask_token" in caplog.text and "blocks.*.norm1.weight (2)" in caplog.text
    assert "newly initialised: fc_norm.scale" in caplog.text or "newly initialised: fc_norm.bias" in caplog.text


@pytest.mark.slow(first=1)
@pytest.mark.parametrize(
    "reference",
    [
        "videomae_mcg_pretrain_base_16x224",
        "hf_videomae_base_pretrain_16x224",
        "hf_videomae_base_pretrain_published_16x224",
    ],
)
def test_predicted_pixels_and_losses_are_the_references(reference):
    expected = golden(reference)
    model = load_pretrained("videomae_base_pretrain", expected.state)
    mask = expected.others["bool_masked_pos"]
    predict = compiled(model)
    spec = get_spec("videomae_base_pretrain")
    for prefix, video in (("", expected.video), ("coarse_", expected.coarse_video)):
        pixels = np.asarray(predict(video, mask))
        assert relative_error(pixels[:, :2], getattr(expected, f"{prefix}logits")) < 1e-4
        assert relative_error(pixels[:, -2:], expected.others[f"{prefix}logits_last2"]) < 1e-4
        assert relative_error(pixels.mean(axis=-1), expected.others[f"{prefix}logits_token_mean"]) < 1e-4
        if f"{prefix}loss64" in expected.others:
            # In float64: the reference's float32 loss of plain tubelets is off by the rounding of their means, 0.4 %.
            targets = model.targets(video * np.float32(spec.video.std) + np.float32(spec.video.mean), mask)
            loss = np.square(pixels - np.asarray(targets)).mean(dtype=np.float64)
            assert relative_error([loss], expected.others[f"{prefix}loss64"]) < 1e-3
