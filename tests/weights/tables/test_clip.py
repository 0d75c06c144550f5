"""Tables of CLIP, pictures and texts: the references' answers, and both ways."""

import json

import jax
import numpy as np
import pytest

from tests.golden import channels_last, coarse_noise, fill_state, noise, relative_error
from tests.peers import needs, torchvision, transformers
from vidjax.models.state import merge, split
from vidjax.weights import load_pretrained, write
from vidjax.weights.read import CheckpointError, SourceError
from vidjax.weights.write import to_state_dict

SMALL = {"dim": 48, "depth": 2, "heads": 3, "size": 64, "patch": 16, "embed": 24, "vocabulary": 100, "text_length": 16,
         "text_dim": 32, "text_depth": 2, "text_heads": 2}  # fmt: skip


def answers(model, video, numbers):
    graphdef, *arrays = split(model)

    @jax.jit
    def run(arrays, video, numbers):
        own = merge(graphdef, *arrays)
        return own.frame_vectors(video), own.text_vectors(numbers), own.similarity(video, numbers)

    return [np.asarray(part) for part in run(arrays, video, numbers)]


def inputs():
    rng = np.random.default_rng(0)
    numbers = rng.integers(1, 98, (3, 12)).astype(np.int32)
    numbers[:, 0], numbers[0, 7], numbers[1:, 11] = 98, 99, 99
    return rng.standard_normal((2, 2, 64, 64, 3)).astype(np.float32), numbers


def loaded(state, source=None):
    model = load_pretrained("clip_b16", state, source=source, **SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "_check_network", lambda *_: None)  # a smaller one than those that are published
        return model, to_state_dict(model, "clip_b16", source or "clip")


def test_it_answers_as_transformers_and_is_written_as_it_was():
    torch, library = needs("torch"), transformers()
    size = {"num_hidden_layers": 2, "projection_dim": 24}
    picture = {"hidden_size": 48, "intermediate_size": 192, "num_attention_heads": 3, "image_size": 64}
    text = {"hidden_size": 32, "intermediate_size": 128, "num_attention_heads": 2, "vocab_size": 100}
    text |= {"max_position_embeddings": 16, "eos_token_id": 99, "bos_token_id": 98}
    torch.manual_seed(0)
    config = library.CLIPConfig(
        vision_config={**size, **picture, "patch_size": 16}, text_config=size | text, projection_dim=24
    )
    theirs = library.CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    state = {key: array.numpy() for key, array in theirs.state_dict().items()}
    model, written = loaded(state)
    video, numbers = inputs()
    with torch.inference_mode():
        pixels = torch.from_numpy(video).flatten(0, 1).permute(0, 3, 1, 2)
        out = theirs(input_ids=torch.from_numpy(numbers).long(), pixel_values=pixels)
        seen = out.image_embeds.reshape(2, 2, 24).mean(dim=1)
        seen = seen / seen.norm(dim=-1, keepdim=True)
        similar = theirs.logit_scale.exp() * seen @ out.text_embeds.T
    frames, texts, given = answers(model, video, numbers)
    unit = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (frames.reshape(4, 24), texts)]
    assert relative_error(unit[0], out.image_embeds) < 1e-4
    assert relative_error(unit[1], out.text_embeds) < 1e-4
    assert relative_error(given, similar) < 1e-4
    assert written.keys() == {key for key in state if not key.endswith("position_ids")}
    assert all(np.array_equal(written[key], state[key]) for key in written)


@pytest.mark.parametrize(("source", "quick"), [("clip_openai", True), ("open_clip", False)])
def test_it_answers_as_open_clip_with_either_activation(source, quick):
    torch, _ = needs("torch"), torchvision()
    model_of = needs("open_clip.model")
    theirs = model_of.CLIP(
        24,
        model_of.CLIPVisionCfg(layers=2, width=48, head_width=16, patch_size=16, image_size=64),
        model_of.CLIPTextCfg(context_length=16, vocab_size=100, width=32, heads=2, layers=2),
        quick_gelu=quick,
    ).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    state = {key: array.numpy() for key, array in theirs.state_dict().items() if key != "attn_mask"}
    model, written = loaded(state, source)
    video, numbers = inputs()
    numbers = np.pad(numbers, ((0, 0), (0, 4)))  # it takes no shorter ones
    with torch.inference_mode():
        pixels = torch.from_numpy(video).flatten(0, 1).permute(0, 3, 1, 2)
        frames, texts = theirs.encode_image(pixels), theirs.encode_text(torch.from_numpy(numbers).long())
    given = answers(model, video, numbers)
    assert relative_error(given[0].reshape(4, 24), frames) < 1e-4
    assert relative_error(given[1], texts) < 1e-4
    assert written.keys() == state.keys() and all(np.array_equal(written[key], state[key]) for key in state)
    with pytest.raises(SourceError, match=r"fit several sources of clip_b16: clip_openai, open_clip\. Choose one"):
        load_pretrained("clip_b16", state, **SMALL)


def test_files_of_pictures_alone_are_refused():
    with pytest.raises(CheckpointError, match="keys fit no source"):
        load_pretrained("clip_b16", {"vision_model.pre_layrnorm.weight": np.zeros(48, np.float32)}, **SMALL)


@pytest.mark.slow
def test_the_full_network_answers_as_the_reference(shared):
    folder = shared / "reference" / "golden-language-segmentation"
    rows = (line.split("\t") for line in (folder / "keys" / "hf_clip_vit_b32_4x224.tsv").read_text().splitlines())
    keys = [(key, tuple(int(n) for n in shape.split("x") if n), dtype) for key, shape, dtype in rows]
    entries = json.loads((folder / "index.json").read_text())["goldens"]
    assert next(e for e in entries if e["name"] == "hf_clip_vit_b32_4x224")["n_keys"] == len(keys)
    with np.load(folder / "hf_clip_vit_b32_4x224.npz") as file:
        golden = dict(file)
    state = fill_state(keys)
    model = load_pretrained("clip_b32", state)
    written = to_state_dict(model, "clip_b32", "clip")
    assert written.keys() == state.keys() and all(np.array_equal(written[key], state[key]) for key in state)
    shape = (2, 3, 4, 224, 224)
    video = np.concatenate([channels_last(noise(shape))[:1], channels_last(coarse_noise(shape))[1:]])
    frames, texts, similar = answers(model, video, golden["input_ids"])
    for given, name in ((frames, "frame_embeds"), (similar, "logits")):
        assert relative_error(given[:1], golden[name][:1]) < 1e-4
        assert relative_error(given[1:], golden[f"coarse_{name}"][1:]) < 1e-4
    assert relative_error(texts, golden["text_embeds"]) < 1e-4
