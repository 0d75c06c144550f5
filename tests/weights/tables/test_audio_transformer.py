"""AST's tables: every naming fills the model, images become spectrograms, and the logits are transformers'."""

import json

import chex
import numpy as np
import pytest
from flax import nnx

from tests import peers
from tests.models.abstract import drawn
from tests.peers import needs
from tests.weights.answers import errors
from tests.weights.listing import assert_complete, golden_keys
from vidjax.config import Spec
from vidjax.inputs import AudioInput
from vidjax.models.families.audio_transformer import AST
from vidjax.models.registry import get_spec
from vidjax.models.state import split
from vidjax.nn.patches import to_patches
from vidjax.weights import describe, load_into, load_pretrained
from vidjax.weights.load import position_fit, warn_of_pixels
from vidjax.weights.mapping import convert, head_classes
from vidjax.weights.read import CheckpointError
from vidjax.weights.table import recognise
from vidjax.weights.write import rule_of, write_transformers

SMALL = {"dim": 24, "depth": 2, "heads": 2, "frames": 32, "mels": 16, "patch": 4, "strides": (4, 4)}


def small(classes=3, **kwargs):
    return drawn(lambda rngs: AST(classes, **{**SMALL, **kwargs}, rngs=rngs))


def shapes(model):
    return {path: array.shape for part in split(model)[1:] for path, array in part.items()}


def original(state):
    """transformers' state dict under the names of YuanGongND/ast."""
    names = {
        "audio_spectrogram_transformer.": "v.", "embeddings.cls_token": "cls_token",
        "embeddings.distillation_token": "dist_token", "embeddings.position_embeddings": "pos_embed",
        "embeddings.patch_embeddings.projection": "patch_embed.proj", "encoder.layer": "blocks",
        "attention.output.dense": "attn.proj", "intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2",
        "layernorm_before": "norm1", "layernorm_after": "norm2", "v.layernorm": "v.norm",
        "classifier.layernorm": "mlp_head.0", "classifier.dense": "mlp_head.1",
    }  # fmt: skip
    out, qkv = {}, {}
    for key, array in state.items():
        for theirs, ours in names.items():
            key = key.replace(theirs, ours)
        if ".attention.attention." in key:
            block, leaf = key.split(".attention.attention.")[0], key.rsplit(".", 1)[1]
            qkv.setdefault(f"module.{block}.attn.qkv.{leaf}", []).append(array)
        else:
            out[f"module.{key}"] = array
    return out | {key: np.concatenate(arrays) for key, arrays in qkv.items()}


def test_every_published_key_and_shape_has_its_place():
    state = golden_keys("hf4_ast_base")
    assert assert_complete("ast_base", state, 527).name == "transformers"
    state = original(state)
    assert {"module.v.blocks.11.attn.qkv.bias", "module.v.dist_token", "module.mlp_head.1.weight"} < state.keys()
    assert assert_complete("ast_base", state, 527).name == "ast"


def written(model, table, named=str):
    """The state dict of a model smaller than any of the source's; `named` turns a key into the file's."""
    state = {}
    for path, array in split(model)[1].items():
        rule, keys = rule_of(table, path)
        state |= dict(zip(map(named, keys), rule.transform.inverse(np.asarray(array)), strict=True))
    return {key: np.array(array, order="C") for key, array in state.items()}


def test_the_image_networks_classifiers_are_left_out_and_written_as_zeros():
    model, again = (small(epsilon=1e-6, head_epsilon=1e-5) for _ in range(2))
    table = recognise(original(golden_keys("hf4_ast_base")), "ast_base")
    state = written(model, table)
    state |= table.buffers(state)
    heads = {key: array.shape for key, array in state.items() if ".head" in key}
    assert heads == {
        f"v.{head}.{leaf}": shape
        for head in ("head", "head_dist")
        for leaf, shape in (("weight", (1000, 24)), ("bias", (1000,)))
    }
    assert not any(state[key].any() for key in heads)
    report = load_into(again, {f"module.{key}": array for key, array in state.items()}, name="ast_base")
    assert report.source == "ast" and report.head_loaded and not report.fresh
    assert sorted(report.dropped) == sorted(f"module.{key}" for key in heads)
    chex.assert_trees_all_equal(split(again)[1], split(model)[1])


def image(dim=24, side=4, first=1, seed=0):
    """A small image ViT under timm's names."""
    rng = np.random.default_rng(seed)
    shapes = {
        "cls_token": (1, 1, dim), "pos_embed": (1, first + side**2, dim), "patch_embed.proj.weight": (dim, 3, 4, 4),
        "patch_embed.proj.bias": (dim,), "norm.weight": (dim,), "norm.bias": (dim,), "head.weight": (10, dim),
        "head.bias": (10,),
    }  # fmt: skip
    if first == 2:
        shapes |= {"dist_token": (1, 1, dim), "head_dist.weight": (10, dim), "head_dist.bias": (10,)}
    for block in range(2):
        for layer, (out, into) in {"attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim), "mlp.fc1": (4 * dim, dim),
                                   "mlp.fc2": (dim, 4 * dim)}.items():  # fmt: skip
            shapes |= {f"blocks.{block}.{layer}.weight": (out, into), f"blocks.{block}.{layer}.bias": (out,)}
        for norm in ("norm1", "norm2"):
            shapes |= {f"blocks.{block}.{norm}.{leaf}": (dim,) for leaf in ("weight", "bias")}
    return {key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}


@pytest.mark.parametrize("first", [1, 2])
def test_an_image_becomes_a_spectrogram(first):
    """The picture of three equal colours has the spectrogram's tokens; positions are as in the reference's code."""
    torch = needs("torch")
    model, state = small(), image(first=first)  # 4 bands and 8 times of patches, over the image's 4×4
    report = load_into(model, state, name="ast_base")
    assert report.source == "vit_timm" and set(report.fresh) == {
        "fc_norm.scale",
        "fc_norm.bias",
        "head.kernel",
        "head.bias",
    }
    assert set(report.dropped) == {key for key in state if key.startswith("head")} and report.resized == ("pos_embed",)
    sound = np.random.default_rng(1).standard_normal((1, 32, 16)).astype(np.float32)
    picture = np.repeat(sound.transpose(0, 2, 1)[:, None, :, :, None], 3, axis=-1)
    kernel = state["patch_embed.proj.weight"].transpose(2, 3, 1, 0).reshape(-1, 24)
    tokens = np.asarray(to_patches(picture, (1, 4, 4))) @ kernel + state["patch_embed.proj.bias"]
    found = np.asarray(model.patch_embed(sound.transpose(0, 2, 1)[:, None, :, :, None])).reshape(1, -1, 24)
    np.testing.assert_allclose(found, tokens, rtol=1e-4, atol=1e-4)
    places = torch.tensor(state["pos_embed"][:, first:].reshape(1, 4, 4, 24)).permute(0, 3, 1, 2)
    places = torch.nn.functional.interpolate(places, size=(4, 8), mode="bilinear").permute(0, 2, 3, 1).reshape(32, 24)
    np.testing.assert_allclose(model.pos_embed[0, 2:], places, atol=1e-5)
    np.testing.assert_array_equal(model.pos_embed[0, :2], state["pos_embed"][0, [0, first - 1]])
    np.testing.assert_array_equal(model.dist_token[...], state["dist_token" if first == 2 else "cls_token"])


def test_an_images_positions_are_cut_in_the_middle():
    model, state = small(frames=12, mels=8), image(side=6, first=2)  # 2 bands and 3 times of 6×6
    load_into(model, state, name="ast_base")
    places = state["pos_embed"][0, 2:].reshape(6, 6, 24)[2:4, 2:5]  # from 6 // 2 - 2 // 2, and from 6 // 2 - 3 // 2
    np.testing.assert_allclose(model.pos_embed[0, 2:], places.reshape(-1, 24), atol=1e-6)
    with pytest.raises(CheckpointError, match="one or two tokens and a square grid"):
        load_into(small(), {**state, "pos_embed": np.zeros((1, 43, 24), np.float32)}, name="ast_base")


@pytest.mark.parametrize("frames", [16, 48])
def test_a_checkpoint_for_another_length_gives_what_its_own_network_gives(frames):
    long, other = small(), small(frames=frames)
    fit = position_fit(other, "ast_base", "pos_embed", long.base_grid)
    table = fit.forward(np.asarray(long.pos_embed[...]), other.pos_embed.shape, other.base_grid)
    other.pos_embed.set_value(np.asarray(table))
    audio = np.random.default_rng(0).standard_normal((1, frames, 16)).astype(np.float32)
    run = nnx.jit(lambda model, audio: model(audio))
    np.testing.assert_allclose(run(other, audio), run(long, audio), rtol=1e-4, atol=1e-5)


def test_the_length_of_a_checkpoint_is_seen_by_its_rows():
    state = golden_keys("hf4_ast_base")
    key = "audio_spectrogram_transformer.embeddings.position_embeddings"
    state[key] = np.broadcast_to(np.float32(0), (1, 2 + 12 * 12, 768))
    model = load_pretrained("ast_base", state, num_classes=527)
    assert model.pos_embed.shape == (1, 1214, 768)
    assert head_classes(state, recognise(state, "ast_base")) == 527


@pytest.mark.slow
def test_transformers_loads_the_folder_and_answers_alike(tmp_path):
    transformers, torch = peers.transformers(), needs("torch")
    model = small(patch=16, strides=(10, 10), frames=64, mels=48)
    table = recognise(golden_keys("hf4_ast_base"), "ast_base")
    encoder = "audio_spectrogram_transformer."
    state = written(model, table, lambda key: key if key.startswith("classifier") else encoder + key)
    spec = Spec("ast_base", {"audio": AudioInput("ast", 1.0, frames=64, mean=-5.0, std=8.0)})
    write_transformers(tmp_path / "out", state, model, spec, ("a", "b", "c"))
    theirs = transformers.ASTForAudioClassification.from_pretrained(tmp_path / "out").eval()
    assert theirs.config.id2label == {0: "a", 1: "b", 2: "c"} and theirs.config.layer_norm_eps == 1e-12
    audio = np.random.default_rng(0).standard_normal((2, 64, 48)).astype(np.float32)
    with torch.inference_mode():
        expected = theirs(input_values=torch.from_numpy(audio)).logits.numpy()
    chex.assert_trees_all_close(nnx.jit(lambda m, a: m(a))(model, audio), expected, rtol=1e-4, atol=1e-5)
    here = {key: tensor.numpy() for key, tensor in theirs.state_dict().items()}
    assert recognise(here, "ast_base").name == "transformers"
    again = convert(here, recognise(here, "ast_base"), shapes(model))
    chex.assert_trees_all_close(again, {p: np.asarray(a) for p, a in split(model)[1].items()})
    told = describe(tmp_path / "out")
    assert told.class_names == ("a", "b", "c") and told.clip == {"mean": -5.0, "std": 8.0}
    extractor = transformers.ASTFeatureExtractor.from_pretrained(tmp_path / "out")
    assert (extractor.max_length, extractor.mean, extractor.std, extractor.num_mel_bins) == (64, -5.0, 4.0, 128)


def test_another_normalisation_is_a_warning(tmp_path, caplog):
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"feature_extractor_type": "ASTFeatureExtractor", "mean": -6.5, "std": 4.5689974})
    )
    clip = describe(tmp_path).clip
    warn_of_pixels(tmp_path, clip, get_spec("ast_base"), "this run")
    assert "mean -6.5, not -4.2677393" in caplog.text and "std" not in caplog.text
    (tmp_path / "preprocessor_config.json").write_text('{"feature_extractor_type": "ASTFeatureExtractor", "std": -1}')
    with pytest.raises(CheckpointError, match="std = -1: must be a positive number"):
        describe(tmp_path)


@pytest.mark.slow
def test_logits_are_the_references():
    assert max(errors("hf_ast_base_10x10_1024x128", "ast_base")) < 1e-4
