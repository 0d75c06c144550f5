"""Models in the names of others: every key of their listings, and the same arrays when read again."""

import json

import chex
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import peers
from tests.golden import read_keys
from tests.models.abstract import abstract, drawn
from tests.peers import needs, torchvision
from tests.weights.listings import keys_shared
from vidjax.models.registry import create_model, get_spec, get_variant, list_models
from vidjax.models.state import merge, split
from vidjax.weights import load_pretrained
from vidjax.weights.mapping import convert
from vidjax.weights.patterns import fill, unfill
from vidjax.weights.read import CheckpointError, read_state_dict
from vidjax.weights.table import recognise, sources
from vidjax.weights.write import to_state_dict, writable, write_file, write_transformers

# Listings of shared/reference/checkpoint-keys by model and framework.
LISTINGS = [
    ("r3d_18", "torchvision", "torchvision_r3d_18"), ("mc3_18", "torchvision", "torchvision_mc3_18"),
    ("r2plus1d_18", "torchvision", "torchvision_r2plus1d_18"), ("s3d", "torchvision", "torchvision_s3d"),
    ("swin3d_t", "torchvision", "torchvision_swin3d_t"), ("mvit_v1_b_16x4", "torchvision", "torchvision_mvit_v1_b"),
    ("mvit_v2_s", "torchvision", "torchvision_mvit_v2_s"),
    ("frame_pool_r50", "torchvision2d", "torchvision2d_resnet50"),
    ("slow_r50", "pytorchvideo", "pytorchvideo_slow_r50"), ("c2d_r50", "pytorchvideo", "pytorchvideo_c2d_r50"),
    ("i3d_r50", "pytorchvideo", "pytorchvideo_i3d_r50"), ("r2plus1d_r50", "pytorchvideo", "pytorchvideo_r2plus1d_r50"),
    ("slowfast_r50_8x8", "pytorchvideo", "pytorchvideo_slowfast_r50"),
    ("slowfast_r101_16x8", "pytorchvideo", "pytorchvideo_slowfast_16x8_r101_50_50"),
    ("csn_r101", "pytorchvideo", "pytorchvideo_csn_r101"), ("x3d_s", "pytorchvideo", "pytorchvideo_x3d_s"),
    ("mvit_v1_b_32x3", "pytorchvideo", "pytorchvideo_mvit_base_32x3"),
    ("i3d_inception_rgb", "pytorch_i3d", "piergiaj_i3d_rgb"),
    ("i3d_r50_nl", "slowfast", "slowfast_c2_I3D_NLN_8x8_R50"), ("slow_r50", "slowfast", "slowfast_SLOW_8x8_R50"),
    ("slowfast_r50_8x8", "slowfast", "slowfast_SLOWFAST_8x8_R50"), ("x3d_m", "slowfast", "slowfast_X3D_M"),
    ("mvit_v2_b", "slowfast", "slowfast_MVITv2_B_32x3"),
    ("tsn_r50", "mmaction2", "mmaction2_tsn"), ("tsm_r50", "mmaction2", "mmaction2_tsm"),
    ("c3d", "mmaction2", "mmaction2_c3d"), ("slowfast_r50_8x8_mm", "mmaction2", "mmaction2_slowfast"),
    ("slow_r50_mm", "mmaction2", "mmaction2_slowonly"), ("i3d_r50_nl_mm", "mmaction2", "mmaction2_i3d_nonlocal"),
    ("csn_ir_r152", "mmaction2", "mmaction2_csn"), ("r2plus1d_34", "mmaction2", "mmaction2_r2plus1d"),
    ("mvit_v2_s", "mmaction2", "mmaction2_mvit"), ("timesformer_base_divided", "mmaction2", "mmaction2_timesformer"),
    ("videomae_base", "mmaction2", "mmaction2_videomae"), ("x3d_m", "mmaction2", "mmaction2_x3d"),
    ("timesformer_base_divided", "timesformer", "timesformer_fb_divided_space_time"),
    ("timesformer_base_joint", "timesformer", "timesformer_fb_joint_space_time"),
    ("timesformer_base_space", "timesformer", "timesformer_fb_space_only"),
    ("videomae_base", "videomae", "videomae_mcg_vit_base_patch16_224"),
    ("videomae_base", "transformers", "hf4_videomae_base_cls"),
    ("timesformer_base_divided", "transformers", "hf4_timesformer"), ("vivit_base_16x2", "transformers", "hf4_vivit"),
]  # fmt: skip


def empty(name, num_classes, **kwargs):
    """A named model whose arrays are zeros that take no memory."""
    graphdef, params, stats = split(abstract(name, num_classes, **kwargs))
    params, stats = (
        {path: np.broadcast_to(np.float32(0), a.shape) for path, a in part.items()} for part in (params, stats)
    )
    return merge(graphdef, params, stats)


def built_with(name, source):
    """The source's own settings of a named model."""
    return next((dict(s.kwargs) for s in sources() if s.name == source and s.serves(name)), {})


# The first of each source with the slow tests, the others with the exhaustive ones.
_FIRST = {source: row for row in reversed(LISTINGS) for source in row[1:2]}


@pytest.mark.parametrize(
    ("name", "source", "listing"),
    [
        pytest.param(*row, marks=pytest.mark.slow if row in _FIRST.values() else pytest.mark.exhaustive)
        for row in LISTINGS
    ],
    ids=str,
)
def test_every_key_of_the_reference_is_written(shared, name, source, listing):
    wanted = keys_shared(shared, listing)
    classes = 1000 if source == "torchvision2d" else get_spec(name).num_classes
    kwargs = built_with(name, source)
    written = to_state_dict(empty(name, classes, **kwargs), name, source, **kwargs)
    found = {key: a.shape for key, a in written.items()}
    if source == "mmaction2" and not any(key.endswith(("num_batches_tracked", "position_index")) for key in wanted):
        found = {k: s for k, s in found.items() if not k.endswith(("num_batches_tracked", "position_index"))}
    assert found == wanted


LARGER = [("r3d_18", "torchvision"), ("tsm_r50", "mmaction2")]


@pytest.mark.parametrize(
    ("name", "source"), [(name, source) for name in list_models("*_tiny") for source in writable(name)] +
    [("x3d_xs", "pytorchvideo"), *(pytest.param(*n, marks=pytest.mark.slow) for n in LARGER)]
)  # fmt: skip
def test_what_is_written_reads_back_as_it_was(name, source):
    variant = get_variant(name)
    _, params, stats = split(abstract(name, 7))
    rng = np.random.default_rng(0)
    arrays = {path: rng.standard_normal(a.shape).astype(np.float32) for path, a in {**params, **stats}.items()}
    model = merge(split(abstract(name, 7))[0], {p: arrays[p] for p in params}, {p: arrays[p] for p in stats})
    state = to_state_dict(model, name, source)
    again = convert(state, recognise(state, name, source), {path: a.shape for path, a in arrays.items()})
    chex.assert_trees_all_equal(again, arrays)
    assert variant.spec.name == name


@pytest.mark.slow
def test_torchvision_loads_it_and_answers_alike(tmp_path):
    torch = needs("torch")
    theirs = torchvision().models.video.r3d_18(num_classes=3).eval()
    ours = create_model("r3d_18", num_classes=3, seed=1)
    file = tmp_path / "r3d_18.pth"
    write_file(file, to_state_dict(ours, "r3d_18", "torchvision"), "torchvision")
    theirs.load_state_dict(torch.load(file, weights_only=True), strict=True)
    video = np.random.default_rng(0).standard_normal((1, 4, 16, 16, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(video).permute(0, 4, 1, 2, 3)).numpy()
    chex.assert_trees_all_close(nnx.jit(lambda m, v: m(v))(ours, video), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(CheckpointError, match=r"r3d_18\.pth: exists"):
        write_file(file, {}, "torchvision")


SMALL = {"dim": 32, "depth": 2, "heads": 2, "size": 32}


def small(name, **kwargs):
    build = get_variant(name).build
    return drawn(lambda rngs: build(5, rngs=rngs, **{**get_variant(name).kwargs, **SMALL, **kwargs}))


@pytest.mark.slow(first=1)
@pytest.mark.parametrize(
    ("name", "architecture", "frames"),
    [
        ("videomae_base", "VideoMAEForVideoClassification", 4),
        ("timesformer_base_divided", "TimesformerForVideoClassification", 3),
        ("vivit_base_16x2", "VivitForVideoClassification", 4),
    ],
)
def test_transformers_loads_the_folder_and_answers_alike(tmp_path, name, architecture, frames, monkeypatch):
    transformers = peers.transformers()
    torch = needs("torch")

    from vidjax.weights import write

    model = small(name, num_frames=frames)
    monkeypatch.setattr(write, "_check_network", lambda *_: None)  # it is smaller than any that is published
    spec = get_variant(name).spec.with_video(num_frames=frames, size=32, resize=(36,))
    names = tuple(f"class {i}" for i in range(5))
    write_transformers(tmp_path / "out", to_state_dict(model, name, "transformers"), model, spec, names)
    theirs, info = getattr(transformers, architecture).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert theirs.config.id2label[3] == "class 3"
    video = np.random.default_rng(0).standard_normal((1, frames, 32, 32, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = theirs.eval()(torch.from_numpy(video).permute(0, 1, 4, 2, 3)).logits.numpy()
    chex.assert_trees_all_close(np.asarray(model(video)), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    prepared = json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())
    assert prepared["image_mean"] == list(spec.video.mean) and prepared["size"] == {"shortest_edge": 36}
    again = load_pretrained(name, tmp_path / "out", num_frames=frames, **SMALL)
    chex.assert_trees_all_equal(*(split(m)[1] for m in (again, model)))
    with pytest.raises(CheckpointError, match="is not empty"):
        write_transformers(tmp_path / "out", {}, model, spec, names)


@pytest.mark.slow
def test_what_cannot_be_written_says_why():
    with pytest.raises(CheckpointError, match=r"has no such network\. It can be written as torchvision\.$"):
        to_state_dict(empty("r3d_18", 3), "r3d_18", "transformers")
    own = r"r2plus1d_tiny is vidjax's own size; no other framework has it\. Of its family, .*r2plus1d_18"
    with pytest.raises(CheckpointError, match=own):
        to_state_dict(empty("r2plus1d_tiny", 3), "r2plus1d_tiny", "torchvision")
    with pytest.raises(CheckpointError, match="caffe2 can only be read"):
        to_state_dict(empty("slow_r50", 3), "slow_r50", "caffe2")
    with pytest.raises(CheckpointError, match=r"(?s)differs in.*stages\.0\.0\.conv1\.kernel: \(1, 1, 1, 32, 32\)"):
        to_state_dict(empty("slow_r50", 3, width=32), "slow_r50", "pytorchvideo", width=32)
    with pytest.raises(CheckpointError, match=r"(?s)frame_pool_r18 cannot be written.*lacks.*pooling\.centres"):
        pooled = empty("frame_pool_r18", 3, temporal_pooling="netvlad")
        to_state_dict(pooled, "frame_pool_r18", "torchvision2d", temporal_pooling="netvlad")
    with pytest.raises(CheckpointError, match="nonlocal_mode = 'dot_product'"):
        dotted = empty("i3d_r50_nl", 3, nonlocal_mode="dot_product")
        to_state_dict(dotted, "i3d_r50_nl", "slowfast", nonlocal_mode="dot_product")


def test_files(tmp_path):
    state = {"a.weight": np.ones((2, 3), np.float32), "a.num_batches_tracked": np.zeros((), np.int64)}
    for name, to in (("x.safetensors", "pytorchvideo"), ("x.pyth", "pytorchvideo"), ("x.pth", "mmaction2")):
        write_file(tmp_path / name, state, to)
        chex.assert_trees_all_equal(read_state_dict(tmp_path / name), state)
    torch = needs("torch")
    assert list(torch.load(tmp_path / "x.pyth", weights_only=True)) == ["model_state"]
    with pytest.raises(CheckpointError, match=r"end it in \.pth"):
        write_file(tmp_path / "x.h5", state, "mmaction2")


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 99), st.integers(0, 99))
def test_placeholders_are_found_again(s, b):
    path = "stages.{s-2}.{b}.conv.kernel"
    values = {"s": str(s), "b": str(b)}
    assert unfill(path, fill(path, values)) == values
    assert unfill("{a}.{a+1}", f"{s}.{s + 1}") == {"a": str(s)}
    assert unfill("{a}.{a+1}", f"{s}.{s + 2}") is None
    assert unfill(path, "stages.x.0.conv.kernel") is None and unfill(path, "stem.conv.kernel") is None


def test_every_table_that_is_listed_can_be_written_for_some_model():
    names = {source for name in list_models() for source in writable(name)}
    assert names >= {source for _, source, _ in LISTINGS}
    assert read_keys("torchvision_r3d_18")
