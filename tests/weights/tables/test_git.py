"""GIT's table: every key has its place, both ways, and the words are transformers'."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden import FOLDER, channels_last, coarse_noise, fill_state, read_keys, relative_error
from tests.peers import needs, transformers
from tests.weights.answers import compiled
from tests.weights.listings import assert_whole_both_ways, keys_here
from vidjax.models.registry import get_spec
from vidjax.models.state import split
from vidjax.nn.generation import Decoding
from vidjax.weights import load_pretrained
from vidjax.weights.mapping import conversion
from vidjax.weights.table import recognise
from vidjax.weights.write import rule_of, written

SMALL = {"dim": 48, "depth": 2, "heads": 3, "size": 32, "patch": 16, "num_frames": 3, "text_length": 40,
         "decoder_dim": 32, "decoder_depth": 2, "decoder_heads": 2}  # fmt: skip
END = 3


@pytest.fixture(scope="module")
def theirs():
    """transformers' network of the same sizes, with other weights than its first."""
    torch, library = needs("torch"), transformers()
    vision = {"hidden_size": 48, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 3,
              "image_size": 32, "patch_size": 16}  # fmt: skip
    config = library.GitConfig(
        vision_config=vision, num_image_with_embedding=3, vocab_size=64, hidden_size=32, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=128, max_position_embeddings=40, eos_token_id=END, bos_token_id=4,
    )  # fmt: skip
    torch.manual_seed(0)
    model = library.GitForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def state(theirs):
    return {key: array.numpy() for key, array in theirs.state_dict().items()}


@pytest.fixture(scope="module")
def ours(state):
    return load_pretrained("git_base", state, **SMALL)


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    video = rng.standard_normal((2, 3, 32, 32, 3)).astype(np.float32)
    return {"video": video, "text": rng.integers(4, 64, (2, 7)).astype(np.int32)}


def asked(theirs, inputs, **options):
    torch = needs("torch")
    pictures = torch.from_numpy(inputs["video"]).permute(0, 1, 4, 2, 3)
    ids = torch.from_numpy(inputs["text"]).long()
    with torch.inference_mode():
        if not options:
            return theirs(input_ids=ids, pixel_values=pictures).logits[:, -ids.shape[1] :].numpy()
        found = theirs.generate(input_ids=ids, pixel_values=pictures, do_sample=False, pad_token_id=0, **options)
    return found[:, ids.shape[1] :].numpy()


def padded(ids, length):
    return np.pad(ids, ((0, 0), (0, length - ids.shape[1])))


def test_logits_are_those_of_transformers(theirs, ours, inputs):
    assert relative_error(compiled(ours)(inputs), asked(theirs, inputs)) < 1e-4


@pytest.mark.parametrize("beams", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_words_are_those_of_transformers(theirs, ours, inputs, beams):
    """Also where a text has ended, by padding, and whatever pads the prompt."""
    prompt = {**inputs, "text": inputs["text"][:, :3]}
    wanted = asked(theirs, prompt, max_new_tokens=12, num_beams=beams)
    ends = np.cumsum(wanted == END, axis=1) - (wanted == END)  # beams of transformers go on with the end itself
    wanted = np.where(ends > 0, 0, wanted)

    @jax.jit
    def answer(video, ids, seen):
        return ours.head.answer(ours.encode(video).tokens, ids, seen, Decoding(12, beams=beams), end=END)

    seen = padded(np.ones((2, 3), bool), 5)
    found = np.asarray(answer(inputs["video"], padded(prompt["text"], 5), seen))
    np.testing.assert_array_equal(found[:, : wanted.shape[1]], wanted)
    assert not found[:, wanted.shape[1] :].any()


@pytest.mark.slow
def test_words_with_and_without_the_cache_are_the_same(ours, inputs):
    @jax.jit
    def both(video, ids):
        tokens = ours.encode(video).tokens
        words, whole = ours.head.answer(tokens, ids, ids > 0, Decoding(4), end=-1), ids
        for _ in range(4):
            whole = jnp.concatenate([whole, ours.head(tokens, None, whole)[:, -1:].argmax(axis=-1)], axis=1)
        return words, whole[:, 2:]

    np.testing.assert_array_equal(*both(inputs["video"], inputs["text"][:, :2]))


def test_what_is_written_is_what_was_read(state, ours):
    shapes = {path: array.shape for path, array in split(ours)[1].items()}
    table = recognise(state, "git_base")
    filled = {path: rule_of(table, path) for path in shapes}
    arrays = {path: np.asarray(array) for path, array in split(ours)[1].items()}
    chex.assert_trees_all_equal(written(arrays, filled), state)


def test_every_key_has_its_place_in_full_size():
    table = assert_whole_both_ways("git_base", keys_here("hf_git_base"), 30522)
    assert table.name in get_spec("git_base").sources


@pytest.mark.slow
def test_every_key_of_the_large_one_has_its_place():
    torch, library = needs("torch"), transformers()
    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
              "patch_size": 14}  # fmt: skip
    with torch.device("meta"):
        model = library.GitForCausalLM(library.GitConfig(vision_config=vision, num_image_with_embedding=6))
    keys = {key: tuple(array.shape) for key, array in model.state_dict().items()}
    assert_whole_both_ways("git_large", keys, 30522)


def test_a_checkpoint_for_pictures_starts_with_new_vectors_for_frames(state, ours):
    pictures = {key: array for key, array in state.items() if "temporal" not in key}
    shapes = {path: array.shape for path, array in split(ours)[1].items()}
    made = conversion(pictures, recognise(pictures, "git_base"), shapes)
    assert made.fresh == ("frame_embed.0", "frame_embed.1", "frame_embed.2")


@pytest.mark.slow
def test_logits_in_full_size_are_those_of_the_golden():
    with np.load(FOLDER / "language" / "hf_git_base_6x224.npz") as arrays:
        golden = dict(arrays)
    model = load_pretrained("git_base", fill_state(read_keys("hf_git_base")))
    video = channels_last(coarse_noise((2, 3, 6, 224, 224)))
    logits = np.asarray(compiled(model)({"video": video, "text": golden["input_ids"]}))
    assert relative_error(logits[..., golden["vocab_index"]], golden["coarse_logits"]) < 1e-4
    np.testing.assert_array_equal(logits.argmax(axis=-1), golden["coarse_argmax"])
