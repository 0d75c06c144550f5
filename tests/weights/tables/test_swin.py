"""Video Swin's tables: every published key has its place in every named model, and the logits are the references'."""

import jax
import numpy as np
import pytest

from tests.golden import read_keys
from tests.models.abstract import abstract
from tests.weights.answers import errors
from tests.weights.listing import of_classes
from vidjax.models.registry import get_spec, list_models
from vidjax.models.state import split
from vidjax.weights import load_pretrained
from vidjax.weights.mapping import convert
from vidjax.weights.read import CheckpointError
from vidjax.weights.table import recognise

LISTINGS = [
    ("swin3d_t", "torchvision_swin3d_t", "torchvision"),
    ("swin3d_s", "torchvision_swin3d_s", "torchvision"),
    ("swin3d_b", "torchvision_swin3d_b", "torchvision"),
    ("swin3d_t", "mmaction2_swin", "mmaction2"),
]


def zeros(rows):
    """Zeros of the listed shapes that take no memory."""
    return {key: np.broadcast_to(np.float32(0), shape) for key, shape in rows}


def listed(shared, name):
    rows = (shared / "reference" / "checkpoint-keys" / f"{name}.tsv").read_text().splitlines()
    split_rows = (row.split("\t") for row in rows)
    return zeros((key, tuple(int(n) for n in shape.split("x") if n)) for key, shape, *_ in split_rows)


def place_everything(name, state):
    """Converts, and gives the source; checks that no value is left over."""
    shapes = {path: p.shape for path, p in split(abstract(name))[1].items()}
    table = recognise(state, name)
    assert table.name in get_spec(name).sources
    assert convert(state, table, shapes).keys() == shapes.keys()
    values = [array for key, array in state.items() if not key.endswith("relative_position_index")]
    assert sum(array.size for array in values) == sum(int(np.prod(shape)) for shape in shapes.values())
    return table.name


def in_the_repositorys_names(state):
    """mmaction2 renamed the last layer norm of what it took over."""
    return {key.replace("norm3", "norm"): array for key, array in state.items()}


@pytest.mark.parametrize(("name", "listing", "source"), LISTINGS)
def test_every_published_key_and_shape_has_its_place(shared, name, listing, source):
    state = listed(shared, listing)
    assert place_everything(name, state) == source
    if source == "mmaction2":
        assert place_everything(name, in_the_repositorys_names(state)) == "video_swin"


@pytest.mark.parametrize("table", ["torchvision_swin3d_t", "mmaction2_swin_tiny_32x224"])
def test_every_key_of_the_goldens_has_its_place(table):
    place_everything("swin3d_t", zeros((key, shape) for key, shape, _ in read_keys(table)))


@pytest.mark.slow
def test_the_large_one_is_read_in_the_repositorys_names():
    """There is no published list of its keys: those of the tiny one, with its widths and 18 blocks in stage 3."""
    state, heads = {}, {3: 6, 6: 12, 12: 24, 24: 48}
    for key, shape, _ in read_keys("mmaction2_swin_tiny_32x224"):
        if key.endswith("bias_table"):
            shape = (shape[0], heads[shape[1]])
        elif not key.endswith(("index", "embed.proj.weight")):
            shape = tuple(n if n == 400 else 2 * n for n in shape)
        elif key.endswith("embed.proj.weight"):
            shape = (2 * shape[0], *shape[1:])
        blocks = range(2, 18, 2) if "layers.2.blocks" in key and key.split(".")[4] in "01" else ()
        state[key] = shape
        for block in blocks:
            part = key.split(".")
            part[4] = str(int(part[4]) + block)
            state[".".join(part)] = shape
    state = zeros(state.items())
    assert place_everything("swin3d_l", state) == "mmaction2"
    assert place_everything("swin3d_l", in_the_repositorys_names(state)) == "video_swin"


def test_every_model_that_names_a_source_is_compared():
    named = {(name, source) for name in of_classes("swin3d_*") for source in get_spec(name).sources}
    compared = {(name, source) for name, _, source in LISTINGS}
    tables = {(name, source) for name in set(list_models("swin3d_?")) for source in ("mmaction2", "video_swin")}
    images = {(name, "swin_image") for name in IMAGES}
    assert named == compared | tables | images


def test_layouts():
    keys = {
        "features.2.1.attn.relative_position_bias_table": ("stages.1.blocks.1.attn.relative_bias", (0, 1)),
        "features.5.reduction.weight": ("stages.3.merge.reduction.kernel", (1, 0)),
        "features.6.0.mlp.3.weight": ("stages.3.blocks.0.mlp.fc2.kernel", (1, 0)),
        "patch_embed.proj.weight": ("patch_embed.kernel", (2, 3, 4, 1, 0)),
    }
    state = zeros((key, shape) for key, shape, _ in read_keys("torchvision_swin3d_t"))
    rng = np.random.default_rng(0)
    state |= {key: rng.standard_normal(state[key].shape).astype(np.float32) for key in keys}
    shapes = {path: p.shape for path, p in split(abstract("swin3d_t"))[1].items()}
    arrays = convert(state, recognise(state, "swin3d_t"), shapes)
    for key, (path, order) in keys.items():
        np.testing.assert_array_equal(arrays[path], state[key].transpose(order))


def test_a_deeper_network_is_refused_by_name(shared):
    state = listed(shared, "torchvision_swin3d_s")
    shapes = {path: p.shape for path, p in split(abstract("swin3d_t"))[1].items()}
    with pytest.raises(CheckpointError, match="does not fit the model") as caught:
        convert(state, recognise(state, "swin3d_t"), shapes)
    assert any("features.4.17.mlp.3.weight" in line for lines in caught.value.problems.values() for line in lines)


@pytest.mark.slow(first=1)
@pytest.mark.parametrize(
    "reference", ["torchvision_swin3d_t_32x224", "torchvision_swin3d_t_8x224", "mmaction2_swin_tiny_32x224"]
)
def test_logits_are_the_references(reference):
    assert max(errors(reference, "swin3d_t")) < 1e-4


# Features of the first stage and blocks of the third in microsoft's configurations.
IMAGES = {"swin3d_t": (96, 6), "swin3d_s": (96, 18), "swin3d_b": (128, 18), "swin3d_l": (192, 18)}


@pytest.mark.parametrize("name", IMAGES)
def test_every_image_network_has_its_place(name):
    width, third = IMAGES[name]
    params = split(abstract(name))[1]
    state = image_state(width, (2, 2, third, 2), [width // 32 * 2**s for s in range(4)], zeros=True)
    table = recognise(state, name)
    assert table.name == "swin_image"
    shapes = {path: p.shape for path, p in params.items() if not path.startswith("head.")}
    assert convert(state, table, shapes).keys() == shapes.keys()


SMALL = {"dim": 12, "depths": (1, 2), "heads": (2, 2)}


def image_state(width=12, depths=(1, 2), heads=(2, 2), zeros=False):
    """An image Swin in microsoft's names, of windows of 7×7."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return np.broadcast_to(np.float32(0), shape) if zeros else 0.3 * rng.standard_normal(shape).astype(np.float32)

    state = {"patch_embed.proj.weight": draw(width, 3, 4, 4), "patch_embed.proj.bias": draw(width)}
    norms, dense = {"patch_embed.norm": width}, {}
    for stage, depth in enumerate(depths):
        dim = width * 2**stage
        for block in range(depth):
            name = f"layers.{stage}.blocks.{block}"
            norms |= {f"{name}.norm1": dim, f"{name}.norm2": dim}
            dense |= {f"{name}.attn.qkv": (3 * dim, dim), f"{name}.attn.proj": (dim, dim)}
            dense |= {f"{name}.mlp.fc1": (4 * dim, dim), f"{name}.mlp.fc2": (dim, 4 * dim)}
            state[f"{name}.attn.relative_position_bias_table"] = draw(169, heads[stage])
            state[f"{name}.attn.relative_position_index"] = np.zeros((49, 49), np.int64)
            if block % 2:
                state[f"{name}.attn_mask"] = draw(4, 49, 49)
        if stage + 1 < len(depths):
            norms[f"layers.{stage}.downsample.norm"] = 4 * dim
            state[f"layers.{stage}.downsample.reduction.weight"] = draw(2 * dim, 4 * dim)
    norms["norm"], dense["head"] = dim, (5, dim)
    for name, shape in dense.items():
        state |= {f"{name}.weight": draw(*shape), f"{name}.bias": draw(shape[0])}
    for name, dim in norms.items():
        state |= {f"{name}.weight": 1 + draw(dim), f"{name}.bias": draw(dim)}
    return state


@pytest.mark.slow
def test_an_image_swin_sees_a_still_video_as_its_picture():
    state = image_state()
    model = load_pretrained("swin3d_t", {"model": state}, source="swin_image", **SMALL)
    kernel = np.asarray(model.patch_embed.kernel[...])
    np.testing.assert_allclose(kernel.sum(axis=0), state["patch_embed.proj.weight"].transpose(2, 3, 1, 0), rtol=1e-6)
    bias = np.asarray(model.stages[1].blocks[1].attn.relative_bias[...]).reshape(15, 169, 2)
    np.testing.assert_array_equal(bias, [state["layers.1.blocks.1.attn.relative_position_bias_table"]] * 15)
    picture = np.random.default_rng(1).standard_normal((1, 1, 56, 56, 3)).astype(np.float32)
    run = jax.jit(lambda video: model(video))
    short, long = (run(np.repeat(picture, frames, axis=1)) for frames in (2, 6))
    np.testing.assert_allclose(short, long, rtol=1e-4, atol=1e-4)
    assert recognise(state, "swin3d_t").name == "swin_image"
    with pytest.raises(CheckpointError, match="only the temporal extent of the window may differ"):
        load_pretrained("swin3d_t", state, window=(8, 5, 5), **SMALL)
