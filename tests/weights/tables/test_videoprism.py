"""Tables of VideoPrism: the publisher's and transformers' names, answers, and files both ways."""

import jax
import numpy as np
import pytest

from tests.golden import channels_last, coarse_noise, language_golden, language_keys, relative_error
from tests.peers import needs, transformers
from vidjax.models.state import merge, split
from vidjax.weights import load_pretrained, write
from vidjax.weights.read import CheckpointError, read_state_dict
from vidjax.weights.write import to_state_dict, write_file

SMALL = {"dim": 64, "depth": 2, "heads": 1, "size": 32, "patch": 16, "num_frames": 3, "temporal_depth": 1}
LVT = {**SMALL, "vocabulary": 50, "text_length": 8, "text_dim": 64, "text_depth": 2, "text_heads": 1,
       "auxiliary_depth": 1}  # fmt: skip


def answers(model, video, numbers):
    """Vectors of videos of any length, the encoder's tokens, and vectors of texts, compiled."""
    graphdef, *arrays = split(model)

    @jax.jit
    def run(arrays, video, numbers):
        own = merge(graphdef, *arrays)
        vectors, tokens, _ = own.encoded_video(video)
        return vectors, tokens, own.text_vectors(numbers)

    return [np.asarray(part) for part in run(arrays, video, numbers)]


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def reference(torch):
    """transformers' network with the publisher's positions of texts, its state dict, and inputs."""
    library = transformers()
    blocks = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 1}
    picture = {**blocks, "image_size": 32, "tubelet_size": [1, 16, 16], "num_frames": 3, "num_spatial_layers": 2,
               "num_temporal_layers": 1, "num_auxiliary_layers": 1}  # fmt: skip
    text = {**blocks, "num_hidden_layers": 2, "vocab_size": 50, "max_position_embeddings": 8}
    torch.manual_seed(0)
    theirs = library.VideoPrismClipModel(library.VideoPrismConfig(vision_config=picture, text_config=text)).eval()
    angles = np.arange(8)[:, None] / 10000 ** (np.arange(32) / 31)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        theirs.text_model.embeddings.position_embedding.copy_(
            torch.from_numpy(np.concatenate([np.sin(angles), np.cos(angles)], axis=1))
        )
    rng = np.random.default_rng(0)
    video = rng.random((2, 3, 32, 32, 3), np.float32)
    numbers = rng.integers(1, 50, (3, 8)).astype(np.int32)
    numbers[0, 5:], numbers[1, 7:] = 0, 0
    return theirs, {key: array.numpy() for key, array in theirs.state_dict().items()}, video, numbers


@pytest.mark.slow
def test_it_answers_as_transformers_and_its_files_hold_the_same(tmp_path):
    torch = needs("torch")
    theirs, state, video, numbers = reference(torch)
    model = load_pretrained("videoprism_lvt_base", state, **LVT)
    with torch.inference_mode():
        pixels, ids = torch.from_numpy(video).permute(0, 1, 4, 2, 3), torch.from_numpy(numbers).long()
        out = theirs(pixel_values_videos=pixels, input_ids=ids, attention_mask=(ids != 0).long())
        tokens = theirs.video_model.vision_model(pixels).last_hidden_state
    given = answers(model, video, numbers)
    assert relative_error(unit(given[0]), out.video_embeds) < 1e-4
    assert relative_error(given[1], tokens) < 1e-4
    assert relative_error(unit(given[2]), out.text_embeds) < 1e-4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "_check_network", lambda *_: None)  # a smaller one than those that are published
        written = to_state_dict(model, "videoprism_lvt_base", "videoprism_transformers")
        flax = to_state_dict(model, "videoprism_lvt_base", "videoprism")
    assert written.keys() == {key for key in state if ".position_" not in key or key.endswith("position_embeddings")}
    assert all(np.array_equal(written[key], state[key]) for key in written)
    stack = "params.vision_encoder.spatial_encoder.transformers_stack.x_layers.self_attention.query.w"
    assert flax[stack].shape == (2, 64, 1, 64)
    write_file(tmp_path / "lvt.npz", flax, "videoprism")
    assert read_state_dict(tmp_path / "lvt.npz").keys() == flax.keys()
    again = load_pretrained("videoprism_lvt_base", tmp_path / "lvt.npz", **LVT)
    one, other = (split(network)[1] for network in (model, again))
    assert one.keys() == other.keys() and all(np.array_equal(one[path], other[path]) for path in one)


@pytest.mark.slow
def test_the_encoder_alone_starts_with_a_new_classifier():
    """Of the same arrays, without the parts of the LvT form."""
    _, state, _, _ = reference(needs("torch"))
    start = "video_model.vision_model."
    own = {key.removeprefix(start): array for key, array in state.items() if key.startswith(start)}
    model = load_pretrained("videoprism_base", own, num_classes=4, **SMALL)
    assert model.head.out_features == 4
    with pytest.raises(CheckpointError, match="1 parameters of the model stay unset"):
        load_pretrained("videoprism_base", {k: v for k, v in own.items() if k != "layernorm1.bias"}, **SMALL)


def test_arrays_of_two_bytes_are_bfloat16(tmp_path):
    """NumPy stores them without their type."""
    value = np.float32(1.5)
    half = np.full(3, value).view(np.uint32) >> 16
    np.savez(tmp_path / "weights.npz", **{"params/a/b": half.astype(np.uint16).view("V2"), "params/c": value})
    read = read_state_dict(tmp_path / "weights.npz")
    assert {key: array.tolist() for key, array in read.items()} == {"params.a.b": [1.5] * 3, "params.c": 1.5}


@pytest.mark.exhaustive
def test_the_full_network_answers_as_the_reference(shared):
    name = "videoprism_lvt_base_16x288"
    state, golden = language_golden(shared, name)
    model = load_pretrained("videoprism_lvt_base", state)
    flax = to_state_dict(model, "videoprism_lvt_base", "videoprism")
    keys = {f"params.{key.replace('/', '.')}": shape for key, shape, _ in language_keys(shared, f"{name}_flax")}
    assert {key: array.shape for key, array in flax.items()} == keys
    pixels = 1 / (1 + np.exp(-coarse_noise((1, 3, 16, 288, 288)).astype(np.float64)))
    vectors, tokens, texts = answers(model, channels_last(pixels.astype(np.float32)), golden["input_ids"])
    assert relative_error(vectors, golden["coarse_video_embeds"]) < 1e-4
    assert relative_error(tokens[:, ::97, ::16], golden["coarse_tokens"]) < 1e-4
    assert relative_error(texts, golden["text_embeds"]) < 1e-4
