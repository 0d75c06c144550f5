"""Frame pooling: the 2D network on one frame, blind to the order of several."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vidjax.models import create_model, get_spec
from vidjax.models.frames import VARIANTS
from vidjax.models.state import split


@pytest.fixture(scope="module")
def video():
    return jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 16, 16, 3)), jnp.float32)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_the_order_of_frames_does_not_matter(video, pooling):
    model = create_model("frame_pool_tiny", temporal_pooling=pooling)
    answer = nnx.jit(lambda model, video: (model(video), model.features(video)))
    logits, features = answer(model, video)
    chex.assert_shape((logits, features), [(2, 6), (2, 64)])
    chex.assert_trees_all_close(answer(model, video[:, np.array([2, 0, 3, 1])]), (logits, features), atol=1e-5)
    frames = np.stack([answer(model, video[:, t : t + 1])[1] for t in range(4)])
    chex.assert_trees_all_close(features, getattr(frames, pooling)(axis=0), atol=1e-5)


@pytest.mark.parametrize(("layers", "features"), [(18, 512), (34, 512), (50, 2048), (101, 2048)])
def test_named_networks_have_the_references_protocol_and_width(layers, features):
    name = f"frame_pool_r{layers}"
    spec, variant = get_spec(name), VARIANTS[name]
    assert (spec.num_frames, spec.size, spec.resize, spec.mean) == (8, 224, (256,), (0.485, 0.456, 0.406))
    model = nnx.eval_shape(lambda: variant.build(num_classes=5, rngs=nnx.Rngs(0), **variant.kwargs))
    shapes = {path: array.shape for path, array in split(model)[1].items()}
    assert shapes["head.kernel"] == (features, 5)
    assert all(shape[0] == 1 for path, shape in shapes.items() if len(shape) == 5)


def test_a_clip_is_a_batch_of_frames_to_the_network():
    def last_stage():
        variant = VARIANTS["frame_pool_r50"]
        model = variant.build(num_classes=5, rngs=nnx.Rngs(0), **variant.kwargs)
        x = model.stem(jnp.zeros((1, 3, 224, 224, 3)))
        for blocks in model.stages:
            for block in blocks:
                x = block(x)
        return x

    assert jax.eval_shape(last_stage).shape == (1, 3, 7, 7, 2048)


def test_the_tiny_networks_differ_in_time_only():
    frame_pool, r2plus1d = create_model("frame_pool_tiny"), create_model("r2plus1d_tiny")
    assert [len(blocks) for blocks in frame_pool.stages] == [len(blocks) for blocks in r2plus1d.stages]
    for theirs, ours in zip(frame_pool.stages, r2plus1d.stages, strict=True):
        assert theirs[0].norm2.num_features == ours[0].norm2.num_features
    specs = get_spec("frame_pool_tiny"), get_spec("r2plus1d_tiny")
    for field in ("num_frames", "stride", "size", "resize", "mean", "std", "num_classes"):
        assert getattr(specs[0], field) == getattr(specs[1], field)


@pytest.mark.slow
def test_one_frame_is_torchvisions_network():
    torch = pytest.importorskip("torch")
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{operator}", schema)
    torchvision = pytest.importorskip("torchvision")
    from vidjax.weights import load_pretrained

    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=10).eval()
    image = np.random.default_rng(0).standard_normal((2, 64, 64, 3)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(image.transpose(0, 3, 1, 2).copy())).numpy()
    ours = load_pretrained("frame_pool_r18", theirs.state_dict())
    chex.assert_trees_all_close(ours(image[:, None]), expected, atol=1e-4, rtol=1e-4)
    still = np.repeat(image[:, None], 3, axis=1)
    chex.assert_trees_all_close(ours(still), expected, atol=1e-4, rtol=1e-4)
