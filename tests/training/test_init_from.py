"""Starting from a network for frames: a vidjax one is inflated, what has nothing to inflate says so."""

import fnmatch
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidjax.config import ClipConfig, Config, ConfigError, DataConfig, ModelConfig
from vidjax.data.records import LabelSpace
from vidjax.models import create_model, get_spec
from vidjax.models.build import build_model
from vidjax.models.state import assign, merge, split
from vidjax.training.checkpoints import Meta, load_model, save_model
from vidjax.training.init_from import start_from
from vidjax.weights.read import CheckpointError

SMALL = {"depths": (1, 1, 1, 1), "width": 4}


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """The folder of a small network for frames, and its parameters."""
    folder = tmp_path_factory.mktemp("initial") / "frames"
    model = create_model("c2d_r50_nopool", num_classes=2, seed=1, **SMALL)
    config = Config(model=ModelConfig(name="c2d_r50_nopool", kwargs=SMALL))
    save_model(folder, model, Meta(config, get_spec("c2d_r50_nopool"), LabelSpace(("left", "right"))))
    return str(folder), split(model)[1]


def slow(**kwargs):
    return create_model("slow_r50", num_classes=3, **SMALL, **kwargs)


@pytest.mark.parametrize(("inflation", "seen"), [("", (1, 1, 1)), ("average", (1, 1, 1)), ("central", (0, 3, 0))])
def test_a_network_for_frames_is_inflated(frames, inflation, seen, caplog):
    folder, arrays = frames
    model = slow(nonlocal_blocks=((), (0,), (), ()))
    with caplog.at_level(logging.INFO, "vidjax"):
        start_from(model, folder, "slow_r50", inflation)
    kernel, flat = np.asarray(model.stages[3][0].conv1.kernel[...]), np.asarray(arrays["stages.3.0.conv1.kernel"])[0]
    np.testing.assert_allclose(kernel, np.stack([n / 3 * flat for n in seen]), rtol=1e-6)
    np.testing.assert_array_equal(model.stem.conv.kernel[...], arrays["stem.conv.kernel"])
    assert "2 kernels are inflated" in caplog.text and "newly initialised: nonlocals.1.0.g.bias" in caplog.text
    assert "has 2 classes, not 3: the head is newly initialised" in caplog.text


def test_what_cannot_be_inflated_is_listed(frames):
    model = create_model("slow_r50", num_classes=2, depths=(1, 1, 1, 2), width=8)
    with pytest.raises(CheckpointError, match=r"stages\.3\.0\.conv1\.kernel: \(1, 1, 1, 64, 32\) cannot become"):
        start_from(model, frames[0], "slow_r50")


def test_inflation_where_there_is_nothing_to_inflate(frames):
    flat = create_model("c2d_r50_nopool", num_classes=2, **SMALL)
    with pytest.raises(ConfigError, match=r"config\.model\.inflation = 'central'.*has no kernels that c2d_r50_nopool"):
        start_from(flat, frames[0], "c2d_r50_nopool", "central")


# The small ones have 8 frames of 32²; V-JEPA 2 has no small one.
TINY = {
    **{name: {} for name in ("timesformer_tiny", "vivit_fe_tiny", "swin3d_tiny", "mvit_tiny", "videomae_tiny")},
    **{name: {"depth": 1} for name in ("vivit_tiny", "vivit_fsa_tiny", "vivit_fdp_tiny")},
    "mvit_v1_b_16x4": {"dim": 8, "depth": 2, "stages": (1,)},
    "vjepa2_large": {"dim": 48, "depth": 1, "heads": 2, "mlp": 48},
}
FITTED = {
    "timesformer_tiny": {"pos_embed": "nearest", "time_embed": "nearest"},
    "vivit_tiny": {"pos_embed": "aligned"},
    "vivit_fsa_tiny": {"pos_embed": "aligned"},
    "vivit_fdp_tiny": {"pos_embed": "aligned"},
    "vivit_fe_tiny": {"pos_embed": "aligned", "temporal_pos_embed": "aligned"},
    "mvit_v1_b_16x4": {"spatial_positions": "cubic", "temporal_positions": "linear"},
    "mvit_tiny": {f"blocks.{i}.attn.relative_{x}": "linear" for i in range(4) for x in "thw"},
}


@pytest.mark.slow(after=2, first=2)
@pytest.mark.parametrize("name", TINY)
def test_a_checkpoint_runs_at_twice_the_frames_and_another_size(name, tmp_path, caplog):
    """As a user asks for it: the settings of the clip, and the checkpoint to start from."""
    old = Config(
        model=ModelConfig(name=name, kwargs=TINY[name]), data=DataConfig(clip=ClipConfig(num_frames=8, size=32))
    )
    source = build_model(old, 2, dtype=None)
    rng = np.random.default_rng(0)
    moved = {path: a + 0.1 * rng.standard_normal(a.shape).astype(np.float32) for path, a in split(source)[1].items()}
    assign(source, moved)
    folder = str(save_model(tmp_path / "source", source, Meta(old, get_spec(name), LabelSpace(("left", "right")))))
    new = Config(
        model=ModelConfig(name=name, kwargs=TINY[name]), data=DataConfig(clip=ClipConfig(num_frames=16, size=48))
    )
    model = build_model(new, 2, dtype=None)
    with caplog.at_level(logging.INFO, "vidjax"):
        start_from(model, folder, name)
    graphdef, params, stats = split(model)
    video = jnp.asarray(rng.standard_normal((1, 16, 48, 48, 3)), jnp.float32)
    logits = jax.jit(lambda video: merge(graphdef, params, stats)(video))(video)
    assert logits.shape == (1, 2) and np.isfinite(logits).all()
    fitted = FITTED.get(name, {})
    for path, array in params.items():
        if path not in fitted:
            np.testing.assert_array_equal(array, moved[path], path)
    assert ("resized" in caplog.text) is bool(fitted)
    for path, mode in fitted.items():
        table = next(table for pattern, table in model.positions.items() if fnmatch.fnmatch(path, pattern))
        assert table.mode == mode
        assert params[path].shape != moved[path].shape
        expected = table.fit(np.asarray(moved[path]), params[path].shape, source.base_grid, model.base_grid)
        np.testing.assert_array_equal(params[path], expected)
    # And the network that was trained for 8 frames answers to 16, without being built anew.
    if name == "vivit_tiny":
        again, _, _ = load_model(folder)
        assert np.isfinite(jax.jit(lambda video: again(video))(video)).all()


def test_exits_come_from_a_run_that_has_the_same_and_otherwise_stay_new(tmp_path):
    def built(seed, *layers, classes=2):
        config = Config(seed=seed, model=ModelConfig(name="conv3d_tiny", exits=layers))
        return build_model(config, classes, dtype=None), config

    def saved(name, model, config):
        labels = LabelSpace(("left", "right"))
        return str(save_model(tmp_path / name, model, Meta(config, get_spec("conv3d_tiny"), labels)))

    sources = {name: saved(name, *built(1, *layers)) for name, layers in (("plain", ()), ("exits", ("convs.0",)))}
    head = "exits.heads.convs_0.kernel"
    for source, layers, classes, taken in (
        ("plain", ("convs.0",), 2, False), ("exits", ("convs.0",), 2, True), ("exits", ("convs.0",), 3, False),
        ("exits", (), 2, None),
    ):  # fmt: skip
        model, _ = built(2, *layers, classes=classes)
        fresh = split(model)[1]
        start_from(model, sources[source], "conv3d_tiny")
        own, theirs = split(model)[1], split(load_model(sources[source])[0])[1]
        assert own.keys() == fresh.keys()
        np.testing.assert_array_equal(own["convs.0.kernel"], theirs["convs.0.kernel"])
        if taken is not None:
            np.testing.assert_array_equal(own[head], (theirs if taken else fresh)[head])
            assert taken or head not in theirs or not np.array_equal(own[head], theirs[head])
