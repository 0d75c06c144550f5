"""TimeSformer's tables: every naming fills the models exactly, tables of another size are fitted, and goldens."""

import functools

import numpy as np
import pytest
from flax import nnx

from tests.golden import read_keys
from tests.weights.answers import errors
from vidjax.models.families.timesformer import VARIANTS, TimeSformer
from vidjax.models.state import split
from vidjax.weights import load_into
from vidjax.weights.mapping import convert
from vidjax.weights.read import CheckpointError
from vidjax.weights.table import recognise

KINDS = {"divided": "divided_space_time", "joint": "joint_space_time", "space": "space_only"}
# A twelve-layer miniature whose sizes replace those of the key lists.
MINIATURE = {768: 8, 2304: 24, 3072: 32, 400: 5, 16: 4, 197: 5, 8: 4}


def shapes_of(model) -> dict[str, tuple[int, ...]]:
    return {path: array.shape for path, array in split(model)[1].items()}


def without_memory(rows) -> dict[str, np.ndarray]:
    return {key: np.broadcast_to(np.float32(0), shape) for key, shape, _ in rows}


def published(shared, listing: str):
    lines = (shared / "reference" / "checkpoint-keys" / f"{listing}.tsv").read_text().splitlines()
    return [(row[0], tuple(map(int, row[1].split("x"))), "float32") for row in (line.split("\t") for line in lines)]


def miniature(kind="divided", seed=0, **kwargs):
    sizes = {"dim": 8, "depth": 12, "heads": 2, "num_frames": 4, "size": 8, "patch": 4}
    return TimeSformer(5, attention=kind, **{**sizes, **kwargs}, rngs=nnx.Rngs(seed))


@functools.cache
def full_shapes(name: str) -> dict[str, tuple[int, ...]]:
    variant = VARIANTS[name]
    return shapes_of(nnx.eval_shape(lambda: variant.build(400, rngs=nnx.Rngs(0), **variant.kwargs)))


@functools.cache
def small_shapes(kind: str = "divided") -> dict[str, tuple[int, ...]]:
    return shapes_of(nnx.eval_shape(lambda: miniature(kind)))


def small_state(table: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {key: tuple(MINIATURE.get(n, n) for n in shape) for key, shape, _ in read_keys(table)}
    return {key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}


def by_mmaction2(state: dict[str, np.ndarray], divided: bool) -> dict[str, np.ndarray]:
    """A state dict of the repository under mmaction2's names."""
    space, norms = ("attentions.1", "attentions.1.norm") if divided else ("attentions.0", "norms.0")
    swaps = {
        "patch_embed.proj.": "patch_embed.projection.",
        "temporal_norm1": "attentions.0.norm",
        "temporal_attn.qkv.": "attentions.0.attn.in_proj_",
        "temporal_attn.proj": "attentions.0.attn.out_proj",
        "temporal_fc": "attentions.0.temporal_fc",
        ".attn.qkv.": f".{space}.attn.in_proj_",
        ".attn.proj": f".{space}.attn.out_proj",
        "norm1": norms,
        "norm2": "ffns.0.norm" if divided else "norms.1",
        "mlp.fc1": "ffns.0.layers.0.0",
        "mlp.fc2": "ffns.0.layers.1",
        "blocks.": "transformer_layers.layers.",
    }
    out = {}
    for key, array in state.items():
        key = key.removeprefix("model.")
        for old, new in swaps.items():
            key = key.replace(old, new)
        out[key.replace("head", "cls_head.fc_cls") if key.startswith("head") else f"backbone.{key}"] = array
    return out


@pytest.mark.parametrize(
    ("listing", "name", "source"),
    [
        *(
            pytest.param(
                f"timesformer_fb_{KINDS[kind]}", f"timesformer_base_{kind}", "timesformer", marks=pytest.mark.slow
            )
            for kind in KINDS
        ),
        ("hf4_timesformer", "timesformer_base_divided", "transformers"),
        ("hf5_timesformer", "timesformer_base_divided", "transformers"),
        ("mmaction2_timesformer", "timesformer_base_divided", "mmaction2"),
    ],
)
def test_every_published_key_and_shape_has_its_place(shared, listing, name, source):
    shapes = full_shapes(name)
    # What the reader takes off every key.
    state = {key.removeprefix("model."): array for key, array in without_memory(published(shared, listing)).items()}
    table = recognise(state, name)
    assert table.name == source
    assert source in VARIANTS[name].spec.sources
    assert convert(state, table, shapes).keys() == shapes.keys()


@pytest.mark.slow
def test_all_namings_of_divided_attention_give_the_same_parameters():
    original = {key.removeprefix("model."): a for key, a in small_state("timesformer_fb_divided_space_time").items()}
    names = {
        "timesformer.embeddings.patch_embeddings.projection": "patch_embed.proj",
        "timesformer.embeddings.position_embeddings": "pos_embed",
        "timesformer.embeddings.time_embeddings": "time_embed",
        "timesformer.embeddings.": "",
        "timesformer.encoder.layer": "blocks",
        "temporal_attention.attention": "temporal_attn",
        "temporal_attention.output.dense": "temporal_attn.proj",
        "attention.attention": "attn",
        "attention.output.dense": "attn.proj",
        "intermediate.dense": "mlp.fc1",
        "output.dense": "mlp.fc2",
        "temporal_layernorm": "temporal_norm1",
        "temporal_dense": "temporal_fc",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "timesformer.layernorm": "norm",
        "classifier": "head",
    }
    transformers = {}
    for key, shape, _ in read_keys("hf4_timesformer"):
        short = key
        for theirs, ours in names.items():
            short = short.replace(theirs, ours)
        transformers[key] = original[short]
        assert original[short].shape == tuple(MINIATURE.get(n, n) for n in shape)
    mmaction2 = by_mmaction2(original, divided=True)
    assert mmaction2.keys() == {key for key, _, _ in read_keys("mmaction2_timesformer_divST_8x224")}
    shapes = small_shapes()
    name = "timesformer_base_divided"
    expected = convert(original, recognise(original, name), shapes)
    for state in (transformers, mmaction2):
        params = convert(state, recognise(state, name), shapes)
        assert params.keys() == expected.keys()
        for path, array in expected.items():
            np.testing.assert_array_equal(params[path], array, err_msg=path)
    np.testing.assert_array_equal(
        expected["blocks.3.earlier.0.attn.qkv.kernel"], original["blocks.3.temporal_attn.qkv.weight"].T
    )
    np.testing.assert_array_equal(expected["blocks.3.attn.qkv.kernel"], original["blocks.3.attn.qkv.weight"].T)


@pytest.mark.parametrize("kind", ["joint", "space"])
def test_mmaction2_names_of_joint_and_space_only_attention(kind):
    original = {key.removeprefix("model."): a for key, a in small_state(f"timesformer_fb_{KINDS[kind]}").items()}
    state = by_mmaction2(original, divided=False)
    assert "backbone.transformer_layers.layers.0.attentions.0.attn.in_proj_weight" in state
    assert "backbone.transformer_layers.layers.0.norms.1.bias" in state
    shapes = small_shapes(kind)
    name = f"timesformer_base_{kind}"
    expected = convert(original, recognise(original, name), shapes)
    table = recognise(state, name)
    assert table.name == "mmaction2"
    params = convert(state, table, shapes)
    for path, array in expected.items():
        np.testing.assert_array_equal(params[path], array, err_msg=path)


@pytest.mark.slow
def test_networks_of_another_attention_are_refused(shared):
    states = {kind: without_memory(published(shared, f"timesformer_fb_{KINDS[kind]}")) for kind in KINDS}
    for state in states.values():
        state.update({key.removeprefix("model."): state.pop(key) for key in list(state)})
    with pytest.raises(CheckpointError, match=r"blocks\.0\.earlier\.0\.fc\.kernel"):
        convert(states["joint"], recognise(states["joint"], "timesformer_base_divided"), small_shapes())
    with pytest.raises(CheckpointError, match=r"blocks\.0\.temporal_fc\.weight"):
        convert(states["divided"], recognise(states["divided"], "timesformer_base_joint"), small_shapes("joint"))
    with pytest.raises(CheckpointError, match="not time_embed"):
        recognise(states["joint"], "timesformer_base_space")


@pytest.mark.slow
def test_a_checkpoint_of_another_length_and_size_gives_what_its_own_model_gives_there():
    """The reference's rule while it runs, and this one while it loads, are one rule."""
    name = "timesformer_base_divided"
    state = small_state("timesformer_fb_divided_space_time")
    state = {key: array for key, array in state.items() if "blocks" not in key or "blocks.0." in key}
    small, large = miniature(depth=1), miniature(depth=1, num_frames=8, size=16)
    report = load_into(small, state, name=name)
    assert report.resized == report.fresh == ()
    report = load_into(large, state, name=name)
    assert set(report.resized) == {"pos_embed", "time_embed"}
    video = np.random.default_rng(0).standard_normal((1, 8, 16, 16, 3)).astype(np.float32)
    small.eval()
    large.eval()
    run = nnx.jit(lambda model, video: model(video))
    np.testing.assert_allclose(run(large, video), run(small, video), rtol=2e-5, atol=2e-5)


@pytest.mark.slow(first=1)
@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("timesformer_fb_divided_space_time_8x224", "timesformer_base_divided"),
        # Neither the tables' length nor their size, and no square.
        ("timesformer_fb_divided_space_time_12x160x256", "timesformer_base_divided"),
        ("timesformer_fb_joint_space_time_8x224", "timesformer_base_joint"),
        ("timesformer_fb_space_only_8x224", "timesformer_base_space"),
        ("hf_timesformer_base_divided_space_time_8x224", "timesformer_base_divided"),
        ("mmaction2_timesformer_divST_8x224", "timesformer_base_divided"),
    ],
)
def test_logits_are_the_references(reference, name):
    assert max(errors(reference, name)) < 1e-4
