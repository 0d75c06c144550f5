"""Frames that a user decoded enter a network as those of evaluation do."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import vidjax
from tests.videos import write_video
from vidjax import parallel
from vidjax.config import ClipConfig, DataConfig, Spec
from vidjax.config.spec import ENTERS
from vidjax.data.reading.clips import ClipReader
from vidjax.data.records import LabelSpace, Record, VideoSet
from vidjax.errors import UserError
from vidjax.evaluation.engine import compile_forward
from vidjax.tasks.classify.evaluator import ClassEvaluator

SPEC = Spec.of_video("toy", num_frames=4, stride=3, size=16, resize=(21,), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


class Echo(nnx.Module):
    """Answers with what it is given."""

    def __call__(self, inputs):
        return inputs["video"]


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    frames = np.random.default_rng(0).integers(0, 256, (14, 40, 62, 3)).astype(np.uint8)
    return str(write_video(tmp_path_factory.mktemp("clips") / "noisy.mp4", frames))


@pytest.mark.parametrize("rule", ["opencv", "torchvision"])
@pytest.mark.parametrize("resize", [(21,), (23, 30), (12,)])
@pytest.mark.parametrize("entering", ["frames", "differences", "both"])
def test_evaluation_feeds_the_network_with_the_same_numbers(noisy, entering, resize, rule):
    spec = SPEC.with_video(enters=entering, resize=resize)
    video, views = ClipReader(spec, DataConfig(clip=ClipConfig(resize_rule=rule))).evaluate(Record(noisy), 2, 1)
    evaluator = ClassEvaluator(VideoSet((), LabelSpace(())), spec)
    forward = compile_forward(Echo(), evaluator.forward, parallel.make_mesh(1))
    expected = forward({}, {}, {"video": video}, np.arange(2, dtype=np.int32))
    with vidjax.VideoReader(noisy) as reader:
        frames = np.stack([reader.read(clip) for clip in views.frames])
    assert frames.shape == (2, 4, 40, 62, 3)
    video = vidjax.preprocess(frames, spec, resize_rule=rule)
    assert video.dtype == jnp.float32 and np.ptp(video) > 1
    np.testing.assert_array_equal(video, expected)
    np.testing.assert_array_equal(vidjax.preprocess(frames[1], spec, resize_rule=rule), expected[1])


@pytest.mark.slow
def test_a_model_takes_what_its_spec_makes():
    frames = np.random.default_rng(0).integers(0, 256, (4, 50, 70, 3)).astype(np.uint8)
    for entering, channels in (("rgb", 3), ("rgb+diff", 6)):
        model = vidjax.create_model("conv3d_tiny", num_classes=2, input=entering)
        spec = vidjax.get_spec("conv3d_tiny").with_video(enters=ENTERS[entering])
        video = vidjax.preprocess(frames, spec, dtype=jnp.bfloat16)
        assert (video.shape, video.dtype) == ((4, 64, 64, channels), jnp.bfloat16)
        assert model(video[None]).shape == (1, 2)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((4, 8, 8, 3), np.float32), "frames are float32: expected uint8"),
        (np.zeros((8, 9, 3), np.uint8), r"expected \(T, H, W, 3\).*Then frames\[None\]"),
        (np.zeros((4, 3, 8, 9), np.uint8), r"\(T, C, H, W\)\? Then frames.transpose\(0, 2, 3, 1\)"),
        (np.zeros((3, 4, 8, 9), np.uint8), r"\(C, T, H, W\)\? Then frames.transpose\(1, 2, 3, 0\)"),
        (np.zeros((2, 4, 3, 8, 9), np.uint8), r"\(B, T, C, H, W\)\? Then frames.transpose\(0, 1, 3, 4, 2\)"),
        (np.zeros((4, 8, 9, 1), np.uint8), r"frames \(4, 8, 9, 1\): expected"),
        (np.zeros((0, 8, 9, 3), np.uint8), r"frames \(0, 8, 9, 3\): expected"),
    ],
)
def test_what_is_no_decoded_clip_is_refused_with_the_mend(frames, message):
    with pytest.raises(UserError, match=message):
        vidjax.preprocess(frames, SPEC)


def test_settings_that_cannot_be_are_named():
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(UserError, match=r"i3d_inception_flow takes 1 field of flow \(tvl1"):
        vidjax.preprocess(frames, vidjax.get_spec("i3d_inception_flow"))
    with pytest.raises(UserError, match="resize_rule = 'pil': must be 'opencv' or 'torchvision'"):
        vidjax.preprocess(frames, SPEC, resize_rule="pil")
