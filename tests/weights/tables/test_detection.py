"""Tables of detection networks: every published key has its place, and the logits of boxes are the references'."""

import zlib

import jax
import numpy as np
import pytest

from tests.golden import FOLDER, channels_last, coarse_noise, fill_state, noise, read_keys, relative_error
from tests.models.abstract import shapes_of
from tests.weights import blobs
from tests.weights.listings import keys_here, zeros
from vidjax.models.families.detection import BACKBONES
from vidjax.models.registry import abstract_model, get_spec
from vidjax.models.state import merge, split
from vidjax.weights import load_into, load_pretrained
from vidjax.weights.mapping import convert, head_classes
from vidjax.weights.read import CheckpointError, SourceError
from vidjax.weights.table import recognise, sources
from vidjax.weights.write import rule_of, to_state_dict

# Reference → network, frames, boxes of both clips, checksum of the filled tensors.
GOLDENS = {
    "mmaction2_slowonly_r50_ava": ("slow_r50_ava_mm", 4, (4, 3), 914867276),
    "pytorchvideo_slowfast_r50_detection": ("slowfast_r50_8x8_ava", 32, (4, 3), 2922508552),
    "slowfast_SLOWFAST_32x2_R50_SHORT": ("slowfast_r50_8x8_ava", 32, (3, 4), 2394140050),
}


@pytest.mark.parametrize("reference", GOLDENS)
def test_every_key_has_its_place(reference):
    name = GOLDENS[reference][0]
    state = zeros(keys_here(reference))
    table = recognise(state, name)
    shapes = shapes_of(name, num_classes=80)
    assert table.name == reference.split("_")[0] and head_classes(state, table) == 80
    arrays = convert(state, table, shapes)
    assert {path: array.shape for path, array in arrays.items()} == shapes


def test_every_source_is_served():
    for name in BACKBONES:
        assert set(get_spec(name).sources) == {source.name for source in sources() if source.serves(name)}


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("slowfast_r50_8x8_ava", "pytorchvideo_slowfast_r50"),
        ("slowfast_r50_8x8_ava", "slowfast_SLOWFAST_8x8_R50"),
        ("slowfast_r50_8x8_ava_acrn_mm", "mmaction2_slowfast_r50_32x224"),
        ("swin3d_t_ava", "torchvision_swin3d_t"),
        ("mvit_v2_s_ava", "slowfast_MVITv2_S_16x4"),
    ],
)
def test_classifiers_are_what_detectors_start_from(name, reference):
    state = zeros(keys_here(reference))
    shapes = shapes_of(name, num_classes=80)
    table = recognise(state, name)
    arrays = convert(state, table, shapes, allow_head_mismatch=True)
    missing = shapes.keys() - arrays.keys()
    assert missing == {path for path in shapes if path.startswith("head.")}


def mmaction2_keys(name, extra, classes=81):
    """Keys of a detector of mmaction2 with further layers in its head, made of those of the plain one."""
    width = extra.pop("in")
    own = {key: shape for key, shape in keys_here(name).items() if "roi_head" not in key}
    own |= {"roi_head.bbox_head.fc_cls.weight": (classes, width), "roi_head.bbox_head.fc_cls.bias": (classes,)}
    return own | extra


def norm(key, width):
    leaves = ("weight", "bias", "running_mean", "running_var")
    return {f"roi_head.shared_head.{key}.{leaf}": (width,) for leaf in leaves}


@pytest.mark.slow
def test_layers_of_contexts_have_their_place():
    plane = "mmaction2_slowonly_r50_ava"
    bank = {}
    fbo = "roi_head.shared_head.fbo"
    for layer, inputs in (("st_feat_conv", 2048), ("lt_feat_conv", 2048)):
        bank |= {f"{fbo}.{layer}.weight": (512, inputs, 1, 1, 1), f"{fbo}.{layer}.bias": (512,)}
    for number in (1, 2):
        inner = f"{fbo}.non_local_layer_{number}"
        for layer in ("st_feat_conv", "lt_feat_conv", "global_conv", "out_conv"):
            bank |= {f"{inner}.{layer}.conv.weight": (512, 512, 1, 1, 1), f"{inner}.{layer}.conv.bias": (512,)}
        bank |= {f"{inner}.ln.weight": (512, 1, 1, 1), f"{inner}.ln.bias": (512, 1, 1, 1)}
    two = {f"roi_head.bbox_head.fc_cls.{n}.{leaf}": shape for n, leaf, shape in (
        (0, "weight", (64, 2048)), (0, "bias", (64,)), (2, "weight", (81, 64)), (2, "bias", (81,)))}  # fmt: skip
    for name, kwargs, keys in (
        ("slow_r50_ava_lfb_mm", {}, mmaction2_keys(plane, {"in": 2560, **bank})),
        ("slow_r50_ava_global_mm", {}, mmaction2_keys(plane, {"in": 4096})),
        ("slow_r50_ava_mm", {"roi_hidden": 64}, {
            key: shape for key, shape in mmaction2_keys(plane, {"in": 1, **two}).items()
            if key.rpartition(".")[0] != "roi_head.bbox_head.fc_cls"
        }),
        ("slow_r50_ava_mm", {"roi_context": "relations"}, mmaction2_keys(plane, {
            "in": 2048,
            "roi_head.shared_head.conv1.conv.weight": (2048, 4096, 1, 1, 1), **norm("conv1.bn", 2048),
            "roi_head.shared_head.conv2.conv.weight": (2048, 2048, 1, 3, 3), **norm("conv2.bn", 2048),
        })),
    ):  # fmt: skip
        state, shapes = zeros(keys), shapes_of(name, num_classes=80, **kwargs)
        arrays = convert(state, recognise(state, name), shapes)
        assert {path: array.shape for path, array in arrays.items()} == shapes


@pytest.mark.slow
def test_blobs_of_101_layers_with_non_local_blocks():
    """A third stage of 23 blocks, three of them followed by a non-local one."""
    name = "slowfast_r101_8x8_ava"
    shapes = shapes_of(name, num_classes=80)
    table = next(source for source in sources() if source.name == "slowfast" and source.serves(name))
    state = {}
    for path, shape in shapes.items():
        rule, keys = rule_of(table, path)
        state |= dict(zip(keys, rule.transform.inverse(np.broadcast_to(np.float32(0), shape)), strict=True))
    assert "s4.pathway0_nonlocal20.conv_theta.weight" in state and len(state) == len(shapes)
    written = blobs.named(state, last_blocks={2: 2, 3: 3, 4: 22})
    found = recognise(written, name)
    assert found.name == "caffe2" and found.kwargs == {"roi_aligned": False}
    assert convert(written, found, shapes).keys() == shapes.keys()


def test_videomae_has_a_norm_of_its_tokens():
    keys = {
        key.removeprefix("backbone."): shape for key, shape in keys_here("mmaction2_videomae_vit_base_16x224").items()
    }
    state = {key: shape for key, shape in keys.items() if not key.startswith(("fc_norm.", "cls_head."))}
    state |= {"norm.weight": (768,), "norm.bias": (768,)}
    state = {f"backbone.{key}": shape for key, shape in state.items()}
    state |= {"roi_head.bbox_head.fc_cls.weight": (81, 768), "roi_head.bbox_head.fc_cls.bias": (81,)}
    shapes = shapes_of("videomae_base_ava", num_classes=80)
    arrays = convert(zeros(state), recognise(zeros(state), "videomae_base_ava"), shapes)
    assert {path: array.shape for path, array in arrays.items()} == shapes


def test_networks_of_other_alignment_are_refused():
    name = "slowfast_r50_8x8_ava"
    state = zeros(keys_here("pytorchvideo_slowfast_r50_detection"))
    with pytest.raises(SourceError, match=r"roi_aligned = False; this one is built with roi_aligned = True"):
        load_into(abstract_model(name, num_classes=80), state, name=name)
    with pytest.raises(CheckpointError, match="fit no source"):
        recognise(zeros(keys_here("mmaction2_slowonly_r50_ava")), name)


def answer(reference):
    """Logits of the boxes of the first clip of the noise and the second of the coarse noise, and the reference's."""
    name, frames, counts, crc32 = GOLDENS[reference]
    golden, keys = np.load(FOLDER / f"{reference}.npz"), read_keys(reference)
    state, crc = fill_state(keys), 0
    for key, _, dtype in keys:
        crc = zlib.crc32(state[key].tobytes(), crc) if dtype.startswith("float") else crc
    assert crc == crc32
    video = np.concatenate([
        channels_last(draw((2, 3, frames, 224, 256)))[i : i + 1] for i, draw in enumerate((noise, coarse_noise))
    ])  # fmt: skip
    boxes = np.zeros((2, 5, 4), np.float32)  # the last one, or two, are padding
    for clip, count in enumerate(counts):
        boxes[clip, :count] = golden["boxes"][golden["boxes"][:, 0] == clip, 1:]
    model = load_pretrained(name, state)
    source = reference.split("_")[0]
    back = to_state_dict(model, name, source, **recognise(state, name).kwargs)
    assert back.keys() == state.keys()
    for key, array in back.items():
        # What is never used does not come back.
        used = slice(1, None) if source == "mmaction2" and "fc_cls" in key else slice(None)
        np.testing.assert_array_equal(array[used] if array.ndim else array, state[key][used] if array.ndim else array)
        assert used == slice(None) or not array[0].any()
    graphdef, params, stats = split(model)
    # The maps alone, without the head: one program serves both sources of a network.
    model.conventions, model.head = (), None
    body = split(model)
    run = jax.jit(lambda params, stats, video: merge(body[0], params, stats).encode(video).maps)
    maps = run(*body[1:], video)
    head = jax.jit(lambda params, stats, maps, boxes: merge(graphdef, params, stats).head(maps, None, boxes))
    found = np.asarray(head(params, stats, maps, boxes))
    rows = np.split(golden["logits64"], [counts[0]])[0], np.split(golden["coarse_logits64"], [counts[0]])[1]
    return [(found[i, :count], rows[i][:, -80:]) for i, count in enumerate(counts)]


@pytest.mark.slow(first=1)
@pytest.mark.parametrize("reference", GOLDENS)
def test_logits_are_the_references(reference):
    for found, wanted in answer(reference):
        assert relative_error(found, wanted) < 1e-4
