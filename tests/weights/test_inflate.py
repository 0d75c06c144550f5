"""Image networks under video networks: a trained one answers a repeated frame as it answers the image."""

import functools
import logging

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.abstract import shapes_of
from tests.peers import torchvision
from tests.weights.tables.test_torchvision import empty_state
from vidjax.models.families.resnet import BasicBlock
from vidjax.models.registry import create_model, get_spec, list_models
from vidjax.models.state import merge, split
from vidjax.nn.conv import Conv3D, conv_formulation
from vidjax.nn.norm import BatchNorm
from vidjax.weights import load_into
from vidjax.weights.fit import BESIDE, FIRST, INFLATIONS
from vidjax.weights.inflate import inflate
from vidjax.weights.layouts import LINEAR
from vidjax.weights.mapping import conversion, convert
from vidjax.weights.read import CheckpointError, read_state_dict
from vidjax.weights.table import Rule, Source, recognise
from vidjax.weights.tables.image_cnn import SOURCES
from vidjax.weights.tables.torchvision import RESNET_2D

IMAGES = {
    "torchvision2d_resnet18": ("r3d_18", "mc3_18"),
    "torchvision2d_resnet34": ("r3d_34",),
    "torchvision2d_resnet50": ("c2d_r50", "c2d_r50_nopool", "i3d_r50", "i3d_r50_nl", "i3d_r50_mm", "i3d_r50_nl_mm",
                               "i3d_r50_nl_dot_mm", "slow_r50", "slow_r50_4x16", "slow_r50_mm", "slowfast_r50_4x16",
                               "slowfast_r50_8x8", "slowfast_r50_4x16_mm", "slowfast_r50_8x8_mm"),
    "torchvision2d_resnet101": ("slowfast_r101_8x8", "slowfast_r101_16x8", "slowfast_r101_8x8_mm",
                                "slowfast_r101_r50_4x16_mm"),
}  # fmt: skip


# A trained network: CIFAR-10's ResNet-20, of the blocks that the video networks consist of.


class Crossing(nnx.Module):
    """Its shortcut where the width changes: every other pixel, zeros for the new channels."""

    def __call__(self, x):
        x = x[:, :, ::2, ::2]
        return jnp.pad(x, ((0, 0),) * 4 + ((x.shape[-1] // 2,) * 2,))


class ResNet20(nnx.Module):
    """`kt` frames are seen by the first convolution, and by the first of every block."""

    def __init__(self, kt=1, padding_mode="zeros"):
        rngs = nnx.Rngs(0)

        def conv(inside, outside, strides, entering, **kwargs):
            extent = kt if len(convs) % 2 == 0 else 1
            convs.append(extent)
            return Conv3D(
                inside, outside, (extent, 3, 3), strides, (extent // 2, 1, 1), padding_mode=padding_mode, **kwargs
            )

        convs = []
        self.stem = nnx.Dict(conv=conv(3, 16, 1, 3, rngs=rngs), norm=BatchNorm(16, rngs=rngs))
        convs.clear()
        self.stages, features = nnx.List(), 16
        for width in (16, 32, 64):
            blocks = nnx.List()
            for _ in range(3):
                strides = (1, 1, 1) if width == features else (1, 2, 2)
                block = BasicBlock(features, width, strides, conv, rngs=rngs)
                block.shortcut = None if width == features else Crossing()
                blocks.append(block)
                features = width
            self.stages.append(blocks)
        self.head = nnx.Linear(64, 10, rngs=rngs)
        self.eval()

    def frames(self, video):
        """(B, T, H, W, 3) → the features of every frame, (B, T, 64)."""
        x = nnx.relu(self.stem.norm(self.stem.conv(video)))
        for blocks in self.stages:
            for block in blocks:
                x = block(x)
        return x.mean(axis=(2, 3))


def shapes_of_resnet20(kt):
    _, params, stats = split(nnx.eval_shape(lambda: ResNet20(kt)))
    return {path: array.shape for path, array in {**params, **stats}.items()}


@functools.cache
def frames_of(kt, padding_mode):
    """`ResNet20.frames` as a compiled function of the network's arrays and the video."""
    graphdef, params, stats = split(nnx.eval_shape(lambda: ResNet20(kt, padding_mode)))

    @jax.jit
    def frames(arrays, video):
        network = merge(graphdef, {p: arrays[p] for p in params}, {p: arrays[p] for p in stats})
        with conv_formulation("native"):  # quick to compile
            return network.frames(video)

    return frames


CIFAR = Source(
    name="cifar",
    models=("resnet20",),
    signature=("linear.weight",),
    rules=(
        *(rule for rule in RESNET_2D.rules if not rule.path.startswith("head.")),
        Rule("linear.weight", "head.kernel", LINEAR),
        Rule("linear.bias", "head.bias"),
    ),
    ignore=RESNET_2D.ignore,
)


@pytest.fixture(scope="module")
def trained(shared):
    """The arrays of the image network with its published weights, images and what the published code answers."""
    folder = shared / "data" / "checkpoints"
    state = read_state_dict(folder / "resnet20-12fca82f.th")
    arrays = convert(state, CIFAR, shapes_of_resnet20(1))
    io = np.load(folder / "resnet20_io.npz")
    return arrays, io["x"].transpose(0, 2, 3, 1), io["y"]


def test_the_image_network_is_the_published_one(trained):
    arrays, images, logits = trained
    features = frames_of(1, "zeros")(arrays, images[:, None])[:, 0]
    answer = features @ arrays["head.kernel"] + arrays["head.bias"][None]
    chex.assert_trees_all_close(answer, logits, atol=1e-4 * np.abs(logits).max())


@pytest.mark.parametrize("how", INFLATIONS)
def test_a_repeated_frame_gives_the_images_features(trained, how):
    """Everywhere where the border frame is repeated in time, and else away from the border, which reaches in by a frame
    per convolution."""
    arrays, images, _ = trained
    image, wanted = images[:1], np.asarray(frames_of(1, "zeros")(arrays, images[:, None]))[0, 0]
    assert np.ptp(wanted) > 0.5
    for padding_mode, frames, inside in (("zeros", 23, slice(10, 13)), ("replicate_time", 3, slice(0, 3))):
        made = inflate(arrays, shapes_of_resnet20(3), how)
        assert len(made.inflated) == 10 and not made.fresh
        video = np.repeat(image[:, None], frames, axis=1)
        features = np.asarray(frames_of(3, padding_mode)(made.arrays, video))[0]
        largest = np.abs(wanted).max()
        chex.assert_trees_all_close(features[inside], np.broadcast_to(wanted, (3, 64)), atol=1e-5 * largest)
        # With the kernel in the middle no border is seen at all; averaged, it is.
        assert (np.abs(features[0] - wanted).max() > 0.05 * largest) == (padding_mode == "zeros" and how == "average")


# Tables.


def test_every_model_that_takes_images_is_looked_at_here():
    served = {name for name in list_models() if any(table.serves(name) for table in SOURCES)}
    assert served == {name for names in IMAGES.values() for name in names} | {
        "i3d_inception_rgb",
        "i3d_inception_flow",
        "slow_r50_flow_mm",
    }
    assert all("torchvision2d" in get_spec(name).sources for name in served)


# The first of each smaller image network with every run of the tests, the others with the exhaustive ones.
@pytest.mark.parametrize(
    ("listing", "name"),
    [
        pytest.param(listing, name, marks=[pytest.mark.exhaustive] if place or "101" in listing else [])
        for listing, names in IMAGES.items()
        for place, name in enumerate(names)
    ],
)
def test_every_kernel_of_the_image_has_its_place(shared, listing, name):
    state, shapes = empty_state(shared, listing), shapes_of(name, num_classes=1000)
    table = recognise(state, name)
    assert table.name == "torchvision2d"
    made = conversion(state, table, shapes)
    in_time = {path for path, shape in shapes.items() if len(shape) == 5 and shape[0] > 1}
    new = {path.split(".")[0] for path in made.fresh}
    if name.startswith("slowfast"):
        assert new == {"fast", "laterals", "head"}
        behind = {f"slow.stages.{s}.0.{layer}.kernel" for s in range(4) for layer in ("conv1", "shortcut.conv")}
        assert set(made.inflated) == behind | {path for path in in_time if path.startswith("slow.")}
    else:
        assert new == ({"nonlocals"} if "_nl" in name else set())
        assert set(made.inflated) == {path for path in in_time if path not in made.fresh}
    assert made.arrays.keys() | set(made.fresh) == shapes.keys()


@pytest.mark.parametrize("name", ["i3d_inception_rgb", "i3d_inception_flow"])
def test_inception(name):
    """torchvision's GoogLeNet: as many blocks, and every kernel in time from a flat one."""
    reference = torchvision().models.googlenet(weights=None, init_weights=False)
    state = {key: np.broadcast_to(np.float32(0), tuple(t.shape)) for key, t in reference.state_dict().items()}
    shapes = shapes_of(name, num_classes=1000)
    made = conversion(state, recognise(state, name), shapes)
    assert made.arrays.keys() == shapes.keys() and not made.fresh
    assert set(made.inflated) >= {path for path, shape in shapes.items() if len(shape) == 5 and shape[0] > 1}


@pytest.mark.slow
def test_what_is_inflated_and_what_is_new_is_said(shared, caplog):
    state = empty_state(shared, "torchvision2d_resnet50")
    state["conv1.weight"] = np.random.default_rng(0).standard_normal((64, 3, 7, 7)).astype(np.float32)
    model = create_model("i3d_r50_nl", num_classes=3, depths=(1, 2, 1, 1))
    keep = {key: a for key, a in state.items() if not key.startswith("layer") or key.split(".")[1] in "0"}
    keep |= {key: a for key, a in state.items() if key.startswith("layer2.1.")}
    with caplog.at_level(logging.INFO, "vidjax"):
        report = load_into(model, keep, name="i3d_r50_nl", inflation="central")
    assert not report.head_loaded and "stem.conv.kernel" in report.inflated and len(report.inflated) == 4
    assert {path.split(".")[0] for path in report.fresh} == {"nonlocals"}
    assert "inflated: stem.conv.kernel" in caplog.text and "newly initialised: nonlocals.1.1" in caplog.text
    kernel = np.asarray(model.stem.conv.kernel[...])
    np.testing.assert_array_equal(kernel[2], state["conv1.weight"].transpose(2, 3, 1, 0))
    assert not kernel[[0, 1, 3, 4]].any()


def test_another_kind_of_stem_is_refused(shared):
    """timm's resnet50d and the like: three convolutions where the video network has one."""
    state = empty_state(shared, "torchvision2d_resnet50")
    deep = {f"conv1.{i}.weight": state["conv1.weight"] for i in (0, 3, 6)}
    with pytest.raises(CheckpointError, match=r"torchvision2d lacks conv1\.weight"):
        recognise({key: a for key, a in state.items() if key != "conv1.weight"} | deep, "i3d_r50")


# Kernels.


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 12), st.sampled_from(sorted(INFLATIONS)))
def test_first_kernels_for_other_channels_see_the_mean_of_the_colours(frames, channels, how):
    kernel = np.random.default_rng(0).standard_normal((1, 2, 2, 3, 4)).astype(np.float32)
    made = FIRST[how].forward(kernel, (frames, 2, 2, channels, 4)).sum(axis=0)
    if channels == 3:
        np.testing.assert_allclose(made, kernel[0], atol=1e-6)
    else:
        for c in range(channels):
            np.testing.assert_allclose(made[:, :, c], kernel[0].mean(axis=2), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(0, 6), st.sampled_from(sorted(INFLATIONS)))
def test_channels_beside_the_images_own_start_at_zero(frames, more, how):
    kernel = np.random.default_rng(0).standard_normal((1, 2, 2, 5, 4)).astype(np.float32)
    made = BESIDE[how].forward(kernel, (frames, 2, 2, 5 + more, 4)).sum(axis=0)
    np.testing.assert_allclose(made[:, :, :5], kernel[0], atol=1e-6)
    assert not made[:, :, 5:].any()
    with pytest.raises(ValueError, match="only the temporal extent"):
        BESIDE[how].forward(kernel, (frames, 2, 2, 4, 4))


def test_what_does_not_fit_is_listed():
    arrays = {"a.kernel": np.zeros((1, 3, 3, 8, 8)), "b.kernel": np.zeros((1, 3, 3, 8, 8)), "c.scale": np.zeros(8)}
    shapes = {"a.kernel": (3, 3, 3, 8, 9), "c.scale": (9,), "d.kernel": (3, 3, 3, 8, 8)}
    with pytest.raises(CheckpointError, match=r"(?s)b\.kernel: has no place.*a\.kernel: \(1, 3.*c\.scale: \(8,\)"):
        inflate(arrays, shapes)
    with pytest.raises(ValueError, match="inflation = 'repeat'"):
        inflate({}, {}, "repeat")
    made = inflate({"c.scale": np.ones(9)}, shapes | {"c.scale": (9,)})
    assert set(made.fresh) == {"a.kernel", "d.kernel"} and not made.inflated
