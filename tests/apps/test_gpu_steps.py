"""What NVIDIA's compiler makes of the update: it compiles as it is, stays channels-last, and fuses attention."""

import re

import jax
import jax.numpy as jnp
import pytest

from vidjax import config as cfg
from vidjax.config.validate import validate
from vidjax.models.registry import get_spec
from vidjax.nn.conv import conv3d
from vidjax.plan import estimates
from vidjax.plan.gpu_targets import can_compile, compiling_for, gpu_devices

pytestmark = pytest.mark.slow

FACTS = estimates.DataFacts(10, 100, False)
CONVOLUTIONAL = [
    "csn_tiny", "i3d_inception_tiny", "i3d_nl_tiny", "r2plus1d_tiny", "r3d_tiny", "rcn_gru_tiny", "s3d_tiny",
    "slow_tiny", "slowfast_tiny", "tsm_tiny", "x3d_tiny",
]  # fmt: skip


def compiled(name, *, gpu="h100", size=0, num_frames=0, videos=8, scan_blocks=False, **kwargs):
    """The text of the update on eight GPUs, and the bytes of its temporaries."""
    if not can_compile(gpu):
        pytest.skip("needs the compiler for GPUs: the extra gpu-plan")
    spec = get_spec(name)
    size, num_frames = size or spec.video.size, num_frames or spec.video.num_frames
    config = validate(
        cfg.Config(
            model=cfg.ModelConfig(name=name, compute_dtype="bfloat16", scan_blocks=scan_blocks, kwargs=kwargs),
            data=cfg.DataConfig(clip=cfg.ClipConfig(num_frames=num_frames, size=size, resize=(size,))),
            train=cfg.TrainConfig(batch_size=videos, steps=10),
        )
    )
    devices = gpu_devices(f"{gpu}:8")
    with compiling_for(devices[0]):
        program = estimates.compile_program(estimates.make_program(config, FACTS, devices))
    return program.as_text(), program.memory_analysis().temp_size_in_bytes


def calls(text):
    return re.findall(r'custom_call_target="([^"]*)"', text)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_convolutional_networks_compile_and_stay_channels_last(name):
    text, _ = compiled(name)
    assert "dim_labels=b01f" in text and "dim_labels=bf012" not in text


@pytest.mark.parametrize("gpu", ["a100", "b200", "h200"])
@pytest.mark.parametrize("name", ["i3d_nl_tiny", "slowfast_tiny", "swin3d_tiny", "videomae_tiny", "x3d_tiny"])
def test_families_compile_for_other_gpus(name, gpu):
    text, _ = compiled(name, gpu=gpu)
    assert "dim_labels=bf012" not in text
    assert ("__cudnn$fmhaSoftmaxBackward" in text) == (name in ("i3d_nl_tiny", "videomae_tiny"))


def test_a_shortcut_with_a_stride_compiles():
    """As a product it does not, at this size; networks of such sizes take minutes."""
    if not can_compile("h100"):
        pytest.skip("needs the compiler for GPUs: the extra gpu-plan")
    device = gpu_devices("h100:1")[0]
    place = jax.sharding.SingleDeviceSharding(device)
    shapes = [
        jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=place)
        for shape in ((8, 8, 56, 56, 256), (1, 1, 1, 256, 512), (8, 8, 28, 28, 512))
    ]

    def gradients(x, kernel, dy):
        y, vjp = jax.vjp(lambda x, kernel: conv3d(x, kernel, strides=(1, 2, 2)), x, kernel)
        return y, *vjp(dy)

    with compiling_for(device), estimates.without_cache():
        text = jax.jit(gradients).lower(*shapes).compile().as_text()
    assert "dim_labels=b01f" in text and "dim_labels=bf012" not in text


@pytest.mark.parametrize("name", ["mvit_tiny", "swin3d_tiny", "timesformer_tiny", "vivit_tiny"])
def test_transformers_compile(name):
    text, _ = compiled(name)
    assert "dim_labels=bf012" not in text
    # Swin's attention has biases and masks; class tokens make the others' numbers of tokens odd.
    assert any(call.startswith("__cudnn$fmha") for call in calls(text)) == (name != "swin3d_tiny")


def test_the_last_block_of_a_whole_swin_compiles():
    """With channels first, its products do not; smaller ones do."""
    size = {"size": 56, "num_frames": 32, "dim": 768, "depths": (1,), "heads": (24,), "tubelet": (2, 8, 8)}
    text, _ = compiled("swin3d_tiny", videos=64, window=(8, 7, 7), dropout=0.5, **size)
    assert "[6272,3072]" in text


def test_no_scores_are_written_in_training_and_a_loop_over_blocks_holds_no_more():
    width = {"size": 224, "num_frames": 16, "dim": 128, "heads": 2, "depth": 3, "tubelet": (2, 16, 16)}
    plain, straight = compiled("videomae_tiny", **width)
    assert calls(plain).count("__cudnn$fmhaSoftmax") == calls(plain).count("__cudnn$fmhaSoftmaxBackward") == 3
    text, scanned = compiled("videomae_tiny", scan_blocks=True, **width)
    assert calls(text).count("__cudnn$fmhaSoftmax") == calls(text).count("__cudnn$fmhaSoftmaxBackward") == 1
    for program in (plain, text):
        assert "1568" in program and "1568,1568]" not in program
    assert scanned <= straight
