"""Tables of language models that see videos: every key has its place, and the words are transformers'."""

import chex
import jax
import numpy as np
import pytest

from tests.golden import FOLDER, channels_last, coarse_noise, fill_state, noise, read_keys, relative_error
from tests.models.abstract import abstract, params_of
from tests.peers import needs, transformers
from tests.weights.answers import compiled
from tests.weights.listings import assert_whole_both_ways, keys_here
from vidjax.errors import UserError
from vidjax.models.registry import get_spec
from vidjax.models.state import split
from vidjax.nn.generation import Decoding
from vidjax.weights import load_pretrained
from vidjax.weights.mapping import convert
from vidjax.weights.table import recognise
from vidjax.weights.write import rule_of, written

TEXT = {"text_dim": 48, "text_heads": 6, "text_groups": 2, "text_hidden": 80}
SMALL = {"dim": 48, "depth": 2, "heads": 3, "mlp_features": 64, "size": 64, "shuffle": 2, "text_depth": 2,
         "placeholder": 63, "num_classes": 64, **TEXT}  # fmt: skip
LLAMA = {"dim": 64, "depth": 2, "heads": 4, "mlp_features": 96, "text_depth": 3, "num_classes": 512,
         "placeholder": 511, **TEXT}  # fmt: skip
END = 2


def golden(name):
    with np.load(FOLDER / "language" / f"{name}.npz") as arrays:
        return dict(arrays)


def language_config(**changes):
    return {"model_type": "llama", "vocab_size": 64, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2,
            "num_attention_heads": 6, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "pad_token_id": 0,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e5}, "eos_token_id": END} | changes  # fmt: skip


@pytest.fixture(scope="module")
def theirs():
    """transformers' SmolVLM of the same sizes, with other weights than its first."""
    torch, library = needs("torch"), transformers()
    vision = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 3,
              "image_size": 64, "patch_size": 16}  # fmt: skip
    config = library.SmolVLMConfig(
        vision_config=vision, text_config=language_config(), scale_factor=2, image_token_id=63
    )
    torch.manual_seed(0)
    model = library.SmolVLMForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def state(theirs):
    return {key: array.numpy() for key, array in theirs.state_dict().items()}


@pytest.fixture(scope="module")
def ours(state):
    return load_pretrained("smolvlm2_256m", state, **SMALL)


@pytest.fixture(scope="module")
def inputs():
    """Three frames of four tokens each between words."""
    rng = np.random.default_rng(0)
    before, after = rng.integers(3, 60, (2, 2, 4))
    ids = np.concatenate([before, np.full((2, 12), 63), after], axis=1).astype(np.int32)
    return {"video": rng.standard_normal((2, 3, 64, 64, 3)).astype(np.float32), "text": ids}


@pytest.mark.slow
def test_logits_and_words_are_those_of_transformers(theirs, ours, inputs):
    torch = needs("torch")
    pictures = torch.from_numpy(inputs["video"]).permute(0, 1, 4, 2, 3)
    ids = torch.from_numpy(inputs["text"]).long()
    with torch.inference_mode():
        logits = theirs(input_ids=ids, pixel_values=pictures).logits.numpy()
        wanted = theirs.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pictures, max_new_tokens=10,
            do_sample=False, pad_token_id=0, eos_token_id=END,
        )[:, ids.shape[1] :].numpy()  # fmt: skip
    assert relative_error(compiled(ours)(inputs), logits) < 1e-4

    @jax.jit
    def answer(video, ids, seen):
        return ours.head.answer(ours.encode(video).tokens, ids, seen, Decoding(10), end=END)

    seen = np.pad(np.ones(ids.shape, bool), ((0, 0), (0, 5)))  # and whatever pads the prompt
    found = np.asarray(answer(inputs["video"], np.pad(inputs["text"], ((0, 0), (0, 5))), seen))
    np.testing.assert_array_equal(found[:, : wanted.shape[1]], wanted)


def test_what_is_written_is_what_was_read(state, ours):
    table = recognise(state, "smolvlm2_256m")
    arrays = {path: np.asarray(array) for path, array in split(ours)[1].items()}
    back = written(arrays, {path: rule_of(table, path) for path in arrays})
    chex.assert_trees_all_equal(back, {key.removeprefix("model."): array for key, array in state.items()})


@pytest.mark.slow
def test_another_number_of_placeholders_is_refused(ours, inputs):
    with pytest.raises(UserError, match="the prompt has 11 placeholders for the 12 tokens of the video"):
        ours({**inputs, "text": inputs["text"][:, 5:]})


def llama_state():
    aliases = {"model.language_model.embed_tokens.weight": "lm_head.weight"}
    return fill_state(read_keys("hf_videollama3_tiny"), aliases)


@pytest.mark.slow
def test_video_llama_answers_as_the_golden():
    """Its patches are in the order in which they are merged: 4 frames of 8×6 patches of 14² pixels."""
    expected = golden("hf_videollama3_tiny")
    model = load_pretrained("videollama3_2b", llama_state(), **LLAMA)
    patches = noise((4 * 8 * 6, 3 * 14 * 14)).reshape(4, 4, 3, 2, 2, 3, 14, 14)
    video = patches.transpose(0, 1, 3, 6, 2, 4, 7, 5).reshape(1, 4, 112, 84, 3)

    @jax.jit
    def answers(video, ids):
        tokens = model.encode(video).tokens
        kept = tokens[:, np.flatnonzero(expected["keep"])]
        return (
            tokens[0],
            model.head(kept, None, ids)[:, -8:],
            model.head.answer(kept, ids, ids >= 0, Decoding(8), end=-1),
        )

    tokens, logits, words = answers(video, expected["input_ids"])
    assert relative_error(tokens, expected["video_tokens"]) < 1e-4
    assert relative_error(logits, expected["logits"]) < 1e-4
    np.testing.assert_array_equal(words, expected["greedy"])


def test_places_that_do_not_change_are_left_out():
    """By the rule of transformers' video processor written out, for normalised pixels."""
    rng = np.random.default_rng(0)
    video = np.repeat(rng.standard_normal((1, 1, 56, 84, 3)), 4, axis=1).astype(np.float32)
    video[:, 1, 28:, 28:56] += 0.01
    video[:, 3] += np.where(rng.random((56, 84, 1)) < 0.5, 0.0004, 0.0)  # 0.05 of 255
    model = abstract("videollama3_tiny", patch=14, num_classes=64)
    kept = np.asarray(model.changed(video))
    wanted = np.zeros((4, 2, 3), bool)
    wanted[0], wanted[1, 1, 1] = True, True
    wanted[2, 1, 1] = True  # as it was before
    wanted[3, 0, 0] = True  # no place changed enough: the first
    np.testing.assert_array_equal(kept[0], wanted)


@pytest.mark.slow
def test_its_own_names_and_files_with_one_name_for_the_words_are_read_too():
    state = llama_state()
    once = {key: array for key, array in state.items() if key != "lm_head.weight"}
    swaps = {"model.vision_model.": "model.vision_encoder.", "model.projector.": "model.mm_projector.",
             "model.language_model.": "model."}  # fmt: skip
    own = {next((new + key.removeprefix(old) for old, new in swaps.items() if key.startswith(old)), key): array
           for key, array in state.items()}  # fmt: skip
    shapes = params_of("videollama3_2b", **LLAMA)
    arrays = [convert(each, recognise(each, "videollama3_2b"), shapes) for each in (state, once, own)]
    chex.assert_trees_all_equal(*arrays)
    other = {**state, "lm_head.weight": state["lm_head.weight"] + 1}
    with pytest.raises(UserError, match="should be one array, but differ"):
        convert(other, recognise(other, "videollama3_2b"), shapes)


@pytest.mark.parametrize(
    ("name", "listing"),
    [("smolvlm2_256m", "hf_smolvlm2_256m"),
     pytest.param("videollama3_2b", "hf_videollama3_2b", marks=pytest.mark.slow)],
)  # fmt: skip
def test_every_key_has_its_place_in_full_size(name, listing):
    spec = get_spec(name)
    assert assert_whole_both_ways(name, keys_here(listing), spec.num_classes).name in spec.sources


SO400M = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16,
          "patch_size": 14}  # fmt: skip


def reference_of(name, library):
    """The constructor's result by the publishers' sizes, on the device that holds nothing."""
    if name == "videollama3_7b":
        text = {"model_type": "qwen2", "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944,
                "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4}  # fmt: skip
        config = library.VideoLlama3Config(vision_config=SO400M, text_config=text)
        return library.VideoLlama3ForConditionalGeneration(config)
    small = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
             "patch_size": 16, "image_size": 512}  # fmt: skip
    vision, scale, sizes = {
        "smolvlm2_500m": (small, 4, (960, 2560, 32, 15, 5)),
        "smolvlm2_2_2b": (SO400M | {"image_size": 384}, 3, (2048, 8192, 24, 32, 32)),
    }[name]
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    text = language_config(**dict(zip(names, sizes, strict=True)), vocab_size=49280)
    config = library.SmolVLMConfig(vision_config=vision, text_config=text, scale_factor=scale, image_token_id=49190)
    return library.SmolVLMForConditionalGeneration(config)


@pytest.mark.slow(first=1)
@pytest.mark.parametrize("name", ["smolvlm2_500m", "smolvlm2_2_2b", "videollama3_7b"])
def test_every_key_of_other_sizes_has_its_place(name):
    torch, library = needs("torch"), transformers()
    with torch.device("meta"):
        model = reference_of(name, library)
    keys = {key: tuple(array.shape) for key, array in model.state_dict().items()}
    assert_whole_both_ways(name, keys, get_spec(name).num_classes)


@pytest.mark.slow
def test_smolvlm_in_full_size_answers_as_the_golden():
    expected = golden("hf_smolvlm2_256m_2x512")
    model = load_pretrained("smolvlm2_256m", fill_state(read_keys("hf_smolvlm2_256m")))
    frames = [channels_last(coarse_noise((1, 3, 512, 512), seed)) for seed in range(2)]
    tokens = compiled_tokens(model)(np.concatenate(frames, axis=1))
    found = np.asarray(tokens).reshape(2, 64, -1)[:, ::4, ::8]
    assert relative_error(found, expected["coarse_frame_tokens"]) < 1e-4
    ids = expected["input_ids"]

    @jax.jit
    def answer(tokens, ids):
        logits = model.head(tokens, None, ids)[:, -8:]
        return logits, model.head.answer(tokens, ids, ids >= 0, Decoding(8), end=-1)

    logits, words = answer(tokens, ids)
    assert relative_error(logits[..., expected["vocab_index"]], expected["coarse_logits"]) < 1e-4
    np.testing.assert_array_equal(words, expected["greedy"])


def compiled_tokens(model):
    return jax.jit(lambda video: model.encode(video).tokens)
