"""Tables of image Transformers over frames: the references' answers, both ways, and what adapters start from."""

import logging

import chex
import numpy as np
import pytest

from tests.golden import golden, read_keys, relative_error
from tests.models.abstract import abstract, filled, shapes_of
from tests.peers import needs, transformers
from tests.weights.answers import compiled, errors
from tests.weights.listings import keys_here, zeros
from vidjax.models.registry import get_spec, list_models
from vidjax.models.state import split
from vidjax.weights import load_pretrained
from vidjax.weights.mapping import convert
from vidjax.weights.read import CheckpointError
from vidjax.weights.table import recognise
from vidjax.weights.tables.frame_vit import SOURCES
from vidjax.weights.write import to_state_dict, writable

SMALL = {"dim": 48, "depth": 2, "heads": 3, "size": 64}


def test_every_model_of_these_tables_names_its_sources():
    for table in SOURCES:
        served = [name for name in list_models() if table.serves(name)]
        assert served and all(table.name in get_spec(name).sources for name in served)


@pytest.mark.slow(first=3)
@pytest.mark.parametrize(
    ("source", "name"),
    [("vit_timm", "frame_vit_b16"), ("vit_torchvision", "frame_vit_b16"), ("dinov2", "frame_dinov2_b14"),
     ("dinov2", "frame_dinov2_b14_registers"), ("dinov3", "frame_dinov3_b16"),
     ("clip", "frame_clip_b16"), ("clip_openai", "frame_clip_b16"), ("siglip", "frame_siglip_b16"),
     ("st_adapter", "st_adapter_b16_two"), ("aim", "aim_b16")],
)  # fmt: skip
def test_what_is_written_reads_back_as_it_was(source, name):
    """In full depth, as a signature may name the last block. Only some sources have a classifier."""
    assert source in writable(name)
    classes = 0 if source in ("dinov2", "dinov3", "clip", "clip_openai", "siglip") else 7
    model = filled(abstract(name, num_classes=classes))
    arrays = {path: np.asarray(array) for path, array in split(model)[1].items()}
    state = to_state_dict(model, name, source)
    found = recognise(state, name, source)
    chex.assert_trees_all_equal(convert(state, found, {path: array.shape for path, array in arrays.items()}), arrays)


def test_what_adapters_start_from_cannot_be_written():
    assert [source for source in ("clip", "clip_openai") if source in writable("aim_b16")] == []
    with pytest.raises(CheckpointError, match="clip can only be read"):
        to_state_dict(abstract("aim_b16", num_classes=2), "aim_b16", "clip")


@pytest.mark.slow
def test_every_key_of_timms_vit_has_its_place_and_is_written():
    keys = keys_here("timm_vit_b16")
    state, shapes = zeros(keys), shapes_of("frame_vit_b16", num_classes=1000)
    assert convert(state, recognise(state, "frame_vit_b16"), shapes).keys() == shapes.keys()
    written = to_state_dict(load_pretrained("frame_vit_b16", state), "frame_vit_b16", "vit_timm")
    assert {key: array.shape for key, array in written.items()} == keys


@pytest.mark.parametrize(("reference", "name"), [("st_adapter_small_4x64", "st_adapter_b16_two"),
                                                 ("aim_small_4x64", "aim_b16")])  # fmt: skip
def test_adapters_answer_as_the_authors_code(reference, name):
    expected = golden(reference)
    source = reference.split("_small")[0]
    frames = {"num_frames": 4} if source == "aim" else {}
    model = load_pretrained(name, expected.state, source=source, **SMALL, **frames)
    for one, answer in zip(compiled(model)(expected.both), expected.of_both("logits"), strict=True):
        assert relative_error(one, answer) < 1e-4


@pytest.mark.slow
def test_adapters_start_from_an_image_network(caplog):
    """OpenAI's file of CLIP: its picture half under `visual.`, with what adapters lack."""
    own = (key for key in read_keys("st_adapter_small") if "adapter" not in key[0] and not key[0].startswith("fc."))
    keys = {key: shape for key, shape, _ in own}
    state = zeros({f"visual.{key}": shape for key, shape in keys.items()} | {"visual.proj": (48, 32)})
    with caplog.at_level(logging.WARNING, "vidjax"):
        model = load_pretrained("st_adapter_b16_two", state, num_classes=3, **SMALL)
    assert "newly initialised" in caplog.text and "blocks.*.before_mlp.conv.kernel (2)" in caplog.text
    assert "left out, having no place in the model: visual.proj" in caplog.text
    assert not np.asarray(model.blocks[0].before_mlp.conv.kernel[...]).any()
    assert np.asarray(model.blocks[0].before_mlp.fc1.kernel[...]).any()


@pytest.mark.parametrize(
    ("source", "name", "model", "config"),
    [
        pytest.param("dinov2", "frame_dinov2_b14", "Dinov2Model", "Dinov2Config", marks=pytest.mark.slow),
        ("dinov2", "frame_dinov2_b14_registers", "Dinov2WithRegistersModel", "Dinov2WithRegistersConfig"),
        ("dinov3", "frame_dinov3_b16", "DINOv3ViTModel", "DINOv3ViTConfig"),
        ("clip", "frame_clip_b16", "CLIPVisionModel", "CLIPVisionConfig"),
        ("siglip", "frame_siglip_b16", "SiglipVisionModel", "SiglipVisionConfig"),
    ],
)
def test_features_are_those_of_transformers(source, name, model, config):
    torch, library = needs("torch"), transformers()
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 64, "patch_size": 16}
    wide = {} if source == "dinov2" else {"intermediate_size": 192}
    wide |= {"num_register_tokens": 4} if source == "dinov3" else {}
    torch.manual_seed(0)
    theirs = getattr(library, model)(getattr(library, config)(**sizes, **wide)).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    state = {key: array.numpy() for key, array in theirs.state_dict().items()}
    ours = load_pretrained(name, state, num_classes=0, **SMALL, patch=16)
    pictures = np.random.default_rng(0).standard_normal((2, 1, 64, 64, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(pictures[:, 0]).permute(0, 3, 1, 2)).pooler_output.numpy()
    assert relative_error(compiled(ours)(pictures), expected) < 1e-4


@pytest.mark.slow
def test_logits_are_timms():
    assert max(errors("timm_vit_b16_224", "frame_vit_b16")) < 1e-4
