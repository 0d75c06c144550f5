"""DETR: answers of transformers' network to 1e-4, with and without padding; positions; names of detectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.peers import needs, transformers
from vidjax.errors import UserError
from vidjax.models.detectors import DETECTORS, abstract_detector, get_detector
from vidjax.models.families.detr import Detr, sine_positions
from vidjax.models.state import split
from vidjax.weights.detectors import load_detector

torch = needs("torch")
hf = transformers()


def backbone(depths=(1, 1, 1, 1), width=4):
    return hf.ResNetConfig(
        embedding_size=width,
        hidden_sizes=[4 * width * 2**i for i in range(4)],
        depths=list(depths),
        layer_type="bottleneck",
        out_features=["stage4"],
    )


def reference(seed=0, **kwargs):
    """transformers' network with random weights and statistics, the size of `detr_tiny` unless told otherwise."""
    settings = dict(
        d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=24, decoder_ffn_dim=24, num_queries=7, num_labels=5, backbone_config=backbone(),
    )  # fmt: skip
    network = hf.DetrForObjectDetection(hf.DetrConfig(use_timm_backbone=False, **settings | kwargs)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif tensor.dtype.is_floating_point:
                scale = 1.7 / np.sqrt(tensor[0].numel()) if tensor.ndim > 1 else 0.1
                # So that the answers differ from query to query.
                scale = 2.0 if "query" in name else 3 * scale if "q_proj.w" in name or "k_proj.w" in name else scale
                centre = float("norm" in name and name.endswith("weight"))
                tensor.copy_(centre + scale * torch.randn(tensor.shape, generator=generator))
    return network


def pictures(sizes, padded, seed=0):
    """Random pictures of several sizes, padded with 0 to one, and the mask of their own pixels."""
    rng = np.random.default_rng(seed)
    x, mask = np.zeros((len(sizes), *padded, 3), np.float32), np.zeros((len(sizes), *padded), bool)
    for i, (height, width) in enumerate(sizes):
        x[i, :height, :width] = rng.normal(size=(height, width, 3))
        mask[i, :height, :width] = True
    return x, mask


def error(ours, theirs):
    theirs = theirs.detach().numpy()
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


def compare(network, theirs, x, mask):
    logits, boxes = jax.jit(lambda x, mask: network(x, mask))(x, mask)
    with torch.no_grad():
        out = theirs(torch.tensor(x.transpose(0, 3, 1, 2)), pixel_mask=torch.tensor(mask.astype(np.int64)))
    assert error(logits, out.logits) < 1e-4 and error(boxes, out.pred_boxes) < 1e-4
    assert float(np.std(np.asarray(boxes), axis=1).min()) > 1e-4


@pytest.mark.slow
def test_answers_of_transformers():
    theirs = reference()
    network = load_detector("detr_tiny", theirs.state_dict())
    compare(network, theirs, *pictures([(96, 70), (50, 128)], (96, 128)))


@pytest.mark.slow
def test_answers_of_transformers_at_full_size():
    theirs = reference(
        d_model=256, encoder_layers=6, decoder_layers=6, encoder_attention_heads=8, decoder_attention_heads=8,
        encoder_ffn_dim=2048, decoder_ffn_dim=2048, num_queries=100, num_labels=91,
        backbone_config=backbone((3, 4, 6, 3), 64),
    )  # fmt: skip
    network = load_detector("detr_r50", theirs.state_dict())
    compare(network, theirs, *pictures([(96, 70), (64, 128)], (96, 128)))


def test_positions_span_the_picture_without_its_padding():
    mask = np.zeros((1, 4, 6), bool)
    mask[:, :3, :5] = True
    positions = jax.jit(sine_positions, static_argnums=1)
    placed, alone = positions(mask, 16), positions(np.ones((1, 3, 5), bool), 16)
    np.testing.assert_allclose(placed[:, :3, :5], alone, atol=1e-6)
    np.testing.assert_allclose(alone[0, -1, :, 0], np.sin(2 * np.pi), atol=1e-5)
    np.testing.assert_allclose(alone[0, 0, :, 0], np.sin(2 * np.pi / 3), atol=1e-5)


def test_half_precision_and_detectors_by_name():
    network = abstract_detector("detr_tiny", dtype=jnp.bfloat16)
    logits, boxes = nnx.eval_shape(lambda net, x: net(x), network, jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32))
    assert logits.dtype == boxes.dtype == jnp.float32 and logits.shape == (1, 7, 6) and boxes.shape == (1, 7, 4)
    assert {array.dtype for array in split(network)[1].values()} == {jnp.dtype("float32")}
    with pytest.raises(UserError, match=r"no detector 'detr_r5'\. Did you mean detr_r50"):
        get_detector("detr_r5")
    with pytest.raises(ValueError, match="dim = 18"):
        Detr(3, dim=18, rngs=nnx.Rngs(0))
    for spec in DETECTORS.values():
        assert spec.paper and bool(spec.origin) == bool(spec.licence) and spec.person < spec.num_classes
