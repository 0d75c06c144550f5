"""Tables of X-CLIP: transformers' answers, texts that differ beside each video, and both ways."""

import json

import jax
import numpy as np
import pytest

from tests.golden import channels_last, coarse_noise, language_golden, noise, relative_error
from tests.peers import needs, transformers
from vidjax.models.state import merge, split
from vidjax.weights import load_pretrained, write
from vidjax.weights.hf_config import configured
from vidjax.weights.read import CheckpointError
from vidjax.weights.tables.xclip import TRANSFORMERS
from vidjax.weights.write import to_state_dict

SMALL = {"dim": 32, "depth": 2, "heads": 2, "size": 32, "patch": 16, "embed": 24, "num_frames": 3, "vocabulary": 100,
         "text_length": 16, "text_dim": 16, "text_depth": 1, "text_heads": 2, "integration_heads": 3,
         "prompt_heads": 4}  # fmt: skip


def answers(model, video, numbers):
    """Vectors of videos, of texts beside each of them, and similarities, compiled."""
    graphdef, *arrays = split(model)

    @jax.jit
    def run(arrays, video, numbers):
        own = merge(graphdef, *arrays)
        features = own.encode(video)
        texts = own.encode_text(numbers)
        return features.pooled, own.texts_beside(features, texts), own.scaled(own.compare(features, texts))

    return [np.asarray(part) for part in run(arrays, video, numbers)]


def test_it_answers_as_transformers_and_is_written_as_it_was():
    torch, library = needs("torch"), transformers()
    picture = {"hidden_size": 32, "intermediate_size": 128, "num_attention_heads": 2, "num_hidden_layers": 2,
               "image_size": 32, "patch_size": 16, "num_frames": 3, "mit_hidden_size": 24, "mit_intermediate_size": 96,
               "mit_num_attention_heads": 3}  # fmt: skip
    text = {"hidden_size": 16, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 1,
            "vocab_size": 100, "max_position_embeddings": 16, "eos_token_id": 99, "bos_token_id": 98}  # fmt: skip
    config = library.XCLIPConfig(
        vision_config=picture, text_config=text, projection_dim=24, prompt_num_attention_heads=4
    )
    torch.manual_seed(0)
    theirs = library.XCLIPModel(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    state = {key: array.numpy() for key, array in theirs.state_dict().items()}
    model = load_pretrained("xclip_b16", state, **SMALL)
    rng = np.random.default_rng(0)
    video = rng.standard_normal((2, 3, 32, 32, 3)).astype(np.float32)
    numbers = rng.integers(1, 98, (3, 8)).astype(np.int32)
    numbers[:, 7] = 99
    with torch.inference_mode():
        pixels = torch.from_numpy(video).permute(0, 1, 4, 2, 3)
        out = theirs(input_ids=torch.from_numpy(numbers).long(), pixel_values=pixels)
    wanted = (out.video_embeds, out.text_embeds, out.logits_per_video)
    given = answers(model, video, numbers)
    assert all(relative_error(one, other) < 1e-4 for one, other in zip(given, wanted, strict=True))
    assert np.abs(given[1][0] - given[1][1]).max() > 1e-3  # a text is another one beside another video
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "_check_network", lambda *_: None)  # a smaller one than those that are published
        written = to_state_dict(model, "xclip_b16", "xclip")
    assert written.keys() == {key for key in state if not key.endswith("position_ids")}
    assert all(np.array_equal(written[key], state[key]) for key in written)


def test_heads_are_those_of_the_folder(tmp_path):
    """Arrays have the same shapes with any number of them."""
    assert configured(tmp_path, TRANSFORMERS.configured) == {}
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"vision_config": {"mit_num_attention_heads": 12}, "prompt_num_attention_heads": None}))
    assert configured(tmp_path, TRANSFORMERS.configured) == {"integration_heads": 12, "prompt_heads": 8}
    file.write_text(json.dumps({"prompt_num_attention_heads": "many"}))
    with pytest.raises(CheckpointError, match="prompt_num_attention_heads = 'many' must be a positive whole number"):
        configured(tmp_path, TRANSFORMERS.configured)


@pytest.mark.slow
def test_the_full_network_answers_as_the_reference(shared):
    state, golden = language_golden(shared, "hf_xclip_base_patch32_8x224")
    model = load_pretrained("xclip_b32", state)
    written = to_state_dict(model, "xclip_b32", "xclip")
    assert written.keys() == state.keys() and all(np.array_equal(written[key], state[key]) for key in state)
    shape = (2, 3, 8, 224, 224)
    video = np.concatenate([channels_last(noise(shape))[:1], channels_last(coarse_noise(shape))[1:]])
    given = answers(model, video, golden["input_ids"])
    for array, name in zip(given, ("video_embeds", "text_embeds", "logits"), strict=True):
        assert relative_error(array[:1], golden[name][:1]) < 1e-4
        assert relative_error(array[1:], golden[f"coarse_{name}"][1:]) < 1e-4
