"""ViViT's tables: both namings of transformers fill model 1 exactly, and the logits are the reference's."""

import numpy as np
import pytest
from flax import nnx

from tests.weights.answers import errors
from vidjax.models.families.vivit import VARIANTS
from vidjax.models.state import split
from vidjax.weights.mapping import convert
from vidjax.weights.table import recognise

NAME = "vivit_base_16x2"


@pytest.fixture(scope="module")
def shapes():
    variant = VARIANTS[NAME]
    model = nnx.eval_shape(lambda: variant.build(400, rngs=nnx.Rngs(0), **variant.kwargs))
    return {path: array.shape for path, array in split(model)[1].items()}


def published(shared, listing):
    lines = (shared / "reference" / "checkpoint-keys" / f"{listing}.tsv").read_text().splitlines()
    return {line.split("\t")[0]: tuple(map(int, line.split("\t")[1].split("x"))) for line in lines}


@pytest.mark.parametrize("listing", ["hf4_vivit", "hf5_vivit"])
def test_every_published_key_and_shape_has_its_place(shared, listing, shapes):
    state = {key: np.broadcast_to(np.float32(0), shape) for key, shape in published(shared, listing).items()}
    table = recognise(state, NAME)
    assert table.name == "transformers"
    assert convert(state, table, shapes).keys() == shapes.keys()


def test_both_namings_give_the_same_parameters(shared):
    """On the first layer alone, whose widths are cut."""
    rng = np.random.default_rng(0)
    cut = {768: 4, 3072: 6, 400: 3, 3137: 2, 16: 2}
    new = {
        key: rng.standard_normal([cut.get(n, n) for n in shape]).astype(np.float32)
        for key, shape in published(shared, "hf5_vivit").items()
        if "layers" not in key or ".0." in key
    }
    names = {
        "vivit.layers": "vivit.encoder.layer", "attention.o_proj": "attention.output.dense",
        "attention.q_proj": "attention.attention.query", "attention.k_proj": "attention.attention.key",
        "attention.v_proj": "attention.attention.value", "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense",
    }  # fmt: skip
    old = {}
    for key, array in new.items():
        for theirs, ours in names.items():
            key = key.replace(theirs, ours)
        old[key] = array
    assert old.keys() <= published(shared, "hf4_vivit").keys()
    small = {
        "cls_token": (1, 1, 4), "pos_embed": (1, 2, 4), "patch_embed.kernel": (2, 2, 2, 3, 4), "patch_embed.bias": (4,),
        "blocks.0.attn.qkv.kernel": (4, 12), "blocks.0.attn.qkv.bias": (12,), "blocks.0.attn.proj.kernel": (4, 4),
        "blocks.0.attn.proj.bias": (4,), "blocks.0.mlp.fc1.kernel": (4, 6), "blocks.0.mlp.fc1.bias": (6,),
        "blocks.0.mlp.fc2.kernel": (6, 4), "blocks.0.mlp.fc2.bias": (4,), "head.kernel": (4, 3), "head.bias": (3,),
        **{f"{norm}.{leaf}": (4,) for norm in ("norm", "blocks.0.norm1", "blocks.0.norm2")
           for leaf in ("scale", "bias")},
    }  # fmt: skip
    a, b = (convert(state, recognise(state, NAME), small) for state in (old, new))
    assert a.keys() == b.keys() == small.keys()
    for path, array in a.items():
        np.testing.assert_array_equal(array, b[path])
    np.testing.assert_array_equal(
        a["blocks.0.attn.qkv.kernel"][:, 4:8], new["vivit.layers.0.attention.k_proj.weight"].T
    )
    np.testing.assert_array_equal(
        a["patch_embed.kernel"], new["vivit.embeddings.patch_embeddings.projection.weight"].transpose(2, 3, 4, 1, 0)
    )


@pytest.mark.slow
def test_logits_are_the_references():
    assert max(errors("hf_vivit_b_16x2_32x224", NAME)) < 1e-4
