"""V-JEPA 2's tables against transformers, live: every key has its place, and the answers are the reference's."""

import numpy as np
import pytest

from tests import peers
from tests.golden import relative_error
from tests.peers import needs
from tests.weights.answers import compiled
from tests.weights.listings import shapes_of
from vidjax.models.registry import get_spec
from vidjax.weights import load_pretrained
from vidjax.weights.mapping import convert
from vidjax.weights.read import CheckpointError, read_state_dict
from vidjax.weights.table import recognise

TINY = {"dim": 66, "depth": 2, "heads": 3, "mlp": 288}  # 66·48/11, as in the giant


@pytest.fixture(scope="module")
def reference():
    """A small classifier of transformers and its arrays by key."""
    transformers, torch = peers.transformers(), needs("torch")
    config = transformers.VJEPA2Config(
        hidden_size=66, num_attention_heads=3, num_hidden_layers=2, mlp_ratio=48 / 11, crop_size=48,
        frames_per_clip=6, num_labels=5, pred_hidden_size=24, pred_num_attention_heads=2, pred_num_hidden_layers=1,
    )  # fmt: skip
    model = transformers.VJEPA2ForVideoClassification(config).eval()
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return model, {key: tensor.numpy() for key, tensor in model.state_dict().items()}


@pytest.fixture(scope="module")
def video():
    return np.random.default_rng(0).standard_normal((2, 6, 48, 48, 3)).astype(np.float32)


def channels_first(video):
    import torch

    return torch.from_numpy(video).permute(0, 1, 4, 2, 3)


@pytest.mark.slow
def test_logits_are_the_references(reference, video):
    import torch

    network, state = reference
    with torch.inference_mode():
        expected = network(channels_first(video)).logits.numpy()
    assert relative_error(load_pretrained("vjepa2_large_ssv2", state, **TINY)(video), expected) < 1e-4


@pytest.mark.slow
def test_full_size_logits_are_the_references():
    """ViT-L with its pooler as published, weights as transformers draws them, on few and small frames."""
    transformers, torch = peers.transformers(), needs("torch")
    config = transformers.VJEPA2Config(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, mlp_ratio=4.0, num_labels=174, crop_size=64,
        frames_per_clip=4, pred_hidden_size=24, pred_num_attention_heads=2, pred_num_hidden_layers=1,
    )  # fmt: skip
    torch.manual_seed(0)
    network = transformers.VJEPA2ForVideoClassification(config).eval()
    for name, parameter in network.named_parameters():
        if parameter.ndim == 1:  # norms and biases, which are drawn as ones and zeros
            torch.nn.init.normal_(parameter, mean=float("norm" in name and "weight" in name), std=0.1)
    clip = np.random.default_rng(0).standard_normal((1, 4, 64, 64, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = network(channels_first(clip)).logits.numpy()
    model = load_pretrained("vjepa2_large_ssv2", {key: tensor.numpy() for key, tensor in network.state_dict().items()})
    logits = compiled(model)(clip)
    assert np.abs(expected).max() > 0.1
    assert relative_error(logits, expected) < 1e-4


@pytest.mark.slow
def test_an_encoder_alone_and_the_original_names(reference, video):
    import torch

    network, state = reference
    with torch.inference_mode():
        expected = network.vjepa2(channels_first(video), skip_predictor=True).last_hidden_state.numpy()
    encoder = {key.removeprefix("vjepa2."): array for key, array in state.items() if key.startswith("vjepa2.")}
    assert any(key.startswith("predictor.") for key in encoder)
    model = load_pretrained("vjepa2_large", encoder, num_classes=7, **TINY)
    assert relative_error(model.tokens(video), expected) < 1e-4
    again = load_pretrained("vjepa2_large", {"encoder": original(encoder), "epoch": 3}, num_classes=7, **TINY)
    np.testing.assert_array_equal(again.tokens(video), model.tokens(video))


def original(encoder):
    """The encoder under the names of facebookresearch/vjepa2."""
    out = {"module.backbone.pos_embed": np.zeros((1, 27, 66), np.float32)}
    for key, array in encoder.items():
        if key.startswith("predictor."):
            continue
        short = key.removeprefix("encoder.").replace("embeddings.patch_embeddings", "patch_embed")
        short = short.replace("layernorm", "norm").replace("layer.", "blocks.").replace("attention.", "attn.")
        if ".query." in short:
            parts = [encoder[key.replace("query", part)] for part in ("query", "key", "value")]
            out[f"module.backbone.{short.replace('query', 'qkv')}"] = np.concatenate(parts)
        elif ".key." not in short and ".value." not in short:
            out[f"module.backbone.{short}"] = array
    return out


@pytest.mark.slow
def test_a_pooler_has_no_place_in_an_encoder(reference):
    with pytest.raises(CheckpointError, match=r"no place in the model[\s\S]*pooler\.query_tokens"):
        load_pretrained("vjepa2_large", reference[1], **TINY)


@pytest.mark.slow(first=1)
@pytest.mark.parametrize("name", ["vjepa2_giant_384_ssv2", "vjepa2_huge"])
def test_every_key_of_a_published_size_has_its_place(name):
    """transformers' own network on the meta device: shapes alone."""
    transformers, torch = peers.transformers(), needs("torch")
    dim, layers, heads, ratio = {
        "huge": (1280, 32, 16, 4.0), "giant": (1408, 40, 22, 48 / 11),
    }[name.split("_")[1]]  # fmt: skip
    config = transformers.VJEPA2Config(
        hidden_size=dim, num_hidden_layers=layers, num_attention_heads=heads, mlp_ratio=ratio, num_labels=400
    )
    pooled = name.endswith("ssv2")
    with torch.device("meta"):
        network = (transformers.VJEPA2ForVideoClassification if pooled else transformers.VJEPA2Model)(config)
    state = {key: np.broadcast_to(np.float32(0), tuple(t.shape)) for key, t in network.state_dict().items()}
    params, _ = shapes_of(name)
    table = recognise(state, name)
    assert table.name in get_spec(name).sources
    wanted = {path for path in params if pooled or not path.startswith("head.")}
    assert convert(state, table, params).keys() == wanted


def test_what_lies_under_encoder_is_read(reference):
    assert read_state_dict({"encoder": {"a.weight": np.zeros(2)}, "epoch": 1}).keys() == {"a.weight"}
