"""Low-rank pairs in peft's folders: read into kernels and into pairs, written, and refused where they do not fit."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.golden import FOLDER
from tests.weights.language import NAME, SMALL, keys_of, state
from vidjax.__main__ import main
from vidjax.config import Config, ModelConfig
from vidjax.config.validate import validate
from vidjax.data.records import LabelSpace
from vidjax.models.build import build_model
from vidjax.models.low_rank import summed, without_pairs
from vidjax.models.registry import get_spec
from vidjax.models.state import assign, frozen_paths, split
from vidjax.training.checkpoints import Meta, save_model
from vidjax.training.init_from import start
from vidjax.weights import load_pretrained
from vidjax.weights.low_rank import load_adapter, read_adapter, write_adapter
from vidjax.weights.read import CheckpointError

PEFT = FOLDER / "language" / "peft"


@pytest.fixture(scope="module")
def base():
    return state()


@pytest.fixture(scope="module")
def plain(base):
    return load_pretrained(NAME, base, **SMALL)


def kernels(model):
    """Arrays of a network, or of one with pairs their sums, by path."""
    return {path: np.asarray(a) for path, a in without_pairs(summed(model)(split(model)[1])).items()}


def config_of(rank=8, **settings):
    return validate(
        Config(model=ModelConfig(name=NAME, kwargs=SMALL | {"num_classes": 64}, lora_rank=rank, **settings))
    )


def started(plain, **settings):
    """A network as a run with these settings starts it, beside the weights of `plain`."""
    config = config_of(**settings)
    model = build_model(config, 0, dtype=None)
    assign(model, split(plain)[1])
    start(model, config, get_spec(NAME))
    return model


def trained(plain, **settings):
    """As after training: no pair is nothing any more, nor are parts trained whole what they were."""
    rng, model = np.random.default_rng(0), started(plain, **settings)
    frozen, params = frozen_paths(model), split(model)[1]
    assign(model, {p: a + 0.1 * rng.normal(size=a.shape) for p, a in params.items() if p not in frozen})
    return model


def merged():
    with np.load(PEFT / "merged.npz") as file:
        return dict(file)


def test_weights_are_those_that_peft_merges(base):
    found = keys_of(kernels(load_pretrained(NAME, base, adapter=PEFT, **SMALL)))
    wanted = merged()
    assert len(wanted) == 17
    for key, array in wanted.items():
        np.testing.assert_allclose(found[key][::5, ::7], array, rtol=1e-5, atol=1e-6, err_msg=key)
    changed = {key for key in base if not np.array_equal(found[key], base[key])}
    assert changed == {key for key in wanted if ".k_proj." not in key}


def test_pairs_of_a_run_start_from_them(plain, base):
    expected = kernels(load_pretrained(NAME, base, adapter=PEFT, **SMALL))
    model = started(plain, lora_from=str(PEFT), lora_alpha=5.0)
    params = split(model)[1]
    assert params["vision.blocks.0.attn.qkv.lora_in"].shape == (48, 8)  # 4 of the queries, 4 of the values
    for path, array in kernels(model).items():
        np.testing.assert_allclose(array, expected[path], rtol=1e-5, atol=1e-6, err_msg=path)
    # What a smaller rank leaves free starts as a new pair does.
    second = np.asarray(params["head.decoder.layers.0.attn.q.lora_out"])
    assert np.any(second[:4]) and not np.any(second[4:])
    assert np.any(np.asarray(params["head.decoder.layers.0.attn.q.lora_in"])[:, 4:])


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"rank": 6}, "vision.blocks.0.attn.qkv.kernel needs config.model.lora_rank=8 or more, not 6"),
        ({"lora_layers": ("vision",)}, "head.decoder.layers.0.attn.q.kernel has no pair here"),
    ],
)
def test_pairs_of_a_run_that_do_not_hold_them(plain, settings, what):
    with pytest.raises(CheckpointError, match=what):
        started(plain, lora_from=str(PEFT), **settings)


def test_what_is_written_is_read_again(plain, base, tmp_path):
    model = trained(plain, rank=3, lora_alpha=4.5, lora_layers=("q", "output", "qkv"), lora_whole=("projector",))
    assert write_adapter(tmp_path / "a", model, name=NAME, to="smolvlm2", base="hub/name") == 2 + 1 + 6
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (3, 4.5, "hub/name")
    assert config["modules_to_save"] == ["model.connector.modality_projection.proj"]
    assert {"lm_head", "model.vision_model.encoder.layers.1.self_attn.k_proj"} < set(config["target_modules"])
    file = load_file(tmp_path / "a" / "adapter_model.safetensors")
    assert file["base_model.model.model.text_model.layers.0.self_attn.q_proj.lora_B.weight"].shape == (48, 3)
    assert file["base_model.model.model.connector.modality_projection.proj.weight"].shape == (48, 192)
    expected = kernels(model)
    again = started(plain, rank=3, lora_from=str(tmp_path / "a"))  # queries, keys and values have one A
    for found in (load_pretrained(NAME, base, adapter=tmp_path / "a", **SMALL), again):
        for path, array in kernels(found).items():
            np.testing.assert_allclose(array, expected[path], rtol=1e-5, atol=1e-6, err_msg=path)


def test_the_command_writes_the_pairs_of_a_run(plain, tmp_path, capsys):
    model = trained(plain, rank=2, lora_layers=("q",))
    meta = Meta(config_of(2, lora_layers=("q",), init_from="smolvlm2/"), get_spec(NAME), LabelSpace(()))
    save_model(tmp_path / "run", model, meta)
    main(["convert", "--to", "smolvlm2", str(tmp_path / "run"), str(tmp_path / "out"), "--only-adapter"])
    assert "smolvlm2_256m of update 0 as smolvlm2: 2 low-rank pairs" in capsys.readouterr().out
    adapter = read_adapter(tmp_path / "out")
    assert adapter.pairs.keys() == {f"text_model.layers.{i}.self_attn.q_proj" for i in range(2)} and not adapter.whole
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["base_model_name_or_path"] == "smolvlm2/"
    with pytest.raises(CheckpointError, match="out: is not empty"):
        write_adapter(tmp_path / "out", model, name=NAME, to="smolvlm2")
    with pytest.raises(CheckpointError, match="has no low-rank pairs to write"):
        write_adapter(tmp_path / "new", plain, name=NAME, to="smolvlm2")


def folder_of(folder, arrays, **changes):
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["proj"], **changes}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    arrays = {f"base_model.model.{key}": np.asarray(array, np.float32) for key, array in arrays.items()}
    save_file(arrays, folder / "adapter_model.safetensors")
    return folder


Q = "model.text_model.layers.0.self_attn.q_proj"


def pair(module=Q, inputs=48, outputs=48):
    return {f"{module}.lora_A.weight": np.ones((2, inputs)), f"{module}.lora_B.weight": np.ones((outputs, 2))}


@pytest.mark.parametrize(
    ("arrays", "changes", "what"),
    [
        (pair(), {"peft_type": "IA3"}, "peft_type = 'IA3': only LORA can be read"),
        (pair(), {"use_dora": True}, "use_dora = True: such pairs are more than a product"),
        (pair(), {"init_lora_weights": "pissa"}, "init_lora_weights = 'pissa'"),
        (pair(), {"lora_alpha": "much"}, "lora_alpha = 'much': must be a number"),
        ({f"{Q}.lora_A.weight": np.ones((2, 48))}, {}, "q_proj has 2x48 and nothing as A and B"),
        (pair() | {f"{Q}.lora_magnitude_vector": np.ones(48)}, {}, "only pairs beside linear layers"),
        (
            pair(f"{Q}x"),
            {},
            r"1 of its 1 modules and parameters have no place there:\n  text_model.layers.0",
        ),
        (pair(inputs=40), {}, "q_proj.weight: its shape is 2x40, where 2x48 is wanted"),
        (pair(outputs=40), {}, "q_proj.weight: its shape is 40x2, where 48x2 is wanted"),
        (pair("model.text_model.embed_tokens"), {}, "it is not the kernel of a linear layer"),
        ({f"{Q}.weight": np.ones((8, 48))}, {}, "its shape is 48x8, where 48x48 is wanted"),
    ],
)
def test_what_cannot_be_read(plain, tmp_path, arrays, changes, what):
    with pytest.raises(CheckpointError, match=what):
        load_adapter(plain, folder_of(tmp_path / "a", arrays, **changes), name=NAME)


def test_a_folder_without_a_file(plain, tmp_path):
    folder = folder_of(tmp_path / "a", pair())
    (folder / "adapter_config.json").unlink()
    with pytest.raises(CheckpointError, match="holds no low-rank pairs; expected adapter_config"):
        read_adapter(folder)


def test_the_type_of_the_parameters_is_kept(plain, base):
    half = load_pretrained(NAME, base, **SMALL)
    assign(half, {path: array.astype(jnp.bfloat16) for path, array in split(half)[1].items()})
    load_adapter(half, PEFT, name=NAME)
    assert {array.dtype for array in split(half)[1].values()} == {jnp.dtype(jnp.bfloat16)}
