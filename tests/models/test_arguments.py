"""What constructors take, listed and tried, and what is said of an argument that they do not take."""

import dataclasses
import inspect
import types

import jax
import pytest
from flax import nnx

import vidjax
from tests.models.abstract import params_of
from tests.models.tiny import of_families
from vidjax.config import Config, ConfigError, ModelConfig
from vidjax.errors import UserError
from vidjax.models.arguments import ArgumentError, _signature, arguments_of, by_field
from vidjax.models.registry import get_variant
from vidjax.models.state import split
from vidjax.training.checkpoints import build_model


@pytest.mark.parametrize("name", of_families([*vidjax.list_models("*_tiny*"), "vjepa2_large_ssv2"]))
def test_what_is_listed_is_taken(name):
    """Every argument at once, at the values that it has anyway."""
    variant, small = get_variant(name), {"depth": 1} if name.startswith("vjepa2") else {}
    parameters = _signature(variant.build)
    listed = arguments_of(variant.build)
    values = {n: parameters[n].default for n in listed} | dict(variant.kwargs) | small
    assert set(listed) == set(values) and "rngs" not in listed
    assert inspect.Parameter.empty not in values.values()
    key = jax.random.key(0)
    rngs = types.SimpleNamespace(params=lambda: key)
    model = nnx.eval_shape(lambda: variant.build(num_classes=400, dtype=None, rngs=rngs, **values))
    assert {path: array.shape for path, array in split(model)[1].items()} == params_of(name, **small)


@pytest.mark.parametrize(
    ("name", "argument", "hint"),
    [
        ("videomae_tiny", "rngs", "Use seed=…."),
        ("videomae_tiny", "image_size", "Use size=…."),
        ("videomae_tiny", "num_labels", "Use num_classes=…."),
        ("videomae_tiny", "drop_path_rate", "Use drop_path=…."),
        ("vivit_tiny", "frames", "Use num_frames=…."),
        ("mvit_tiny", "in_chans", "Use in_channels=…."),
        ("r2plus1d_18", "img_size", "It takes clips of any size without it."),
        ("r2plus1d_18", "num_frames", "It takes clips of any length without it."),
        ("r2plus1d_18", "pretrained", "Weights of a file are loaded by vidjax.load_pretrained(name, file)."),
        ("slow_tiny", "dropuot", "Did you mean dropout?"),
        ("tsm_tiny", "temporal_pooling", ""),
        ("r2plus1d_18", "stem", ""),
        ("slow_tiny", "no_such_thing", ""),
    ],
)
def test_other_arguments_are_refused_with_what_was_meant(name, argument, hint):
    listed = ", ".join(arguments_of(get_variant(name).build))
    with pytest.raises(ArgumentError) as info:
        vidjax.create_model(name, **{argument: 3})
    assert str(info.value) == (
        f"{name} takes no argument {argument!r}.{' ' * bool(hint)}{hint} {name} takes {listed}; create_model itself "
        "takes num_classes, seed, dtype, input, probe, probe_options."
    )
    assert isinstance(info.value, TypeError), "as Python itself would raise"


def test_a_config_with_such_an_argument_is_refused_as_a_config():
    config = Config(model=ModelConfig(name="swin3d_tiny", kwargs={"windows": (2, 2, 2)}))
    with pytest.raises(ConfigError, match=r"config.model.name = 'swin3d_tiny' .*'windows'. Did you mean window\?"):
        build_model(config, 3, dtype=None, abstract=True)


def test_fewer_than_no_classes():
    with pytest.raises(UserError, match="num_classes = -1: give the number of classes, or 0 for features only"):
        vidjax.create_model("conv3d_tiny", num_classes=-1)


@dataclasses.dataclass(frozen=True)
class Size:
    dim: int
    depth: int = 2


@dataclasses.dataclass(frozen=True)
class Clip:
    frames: int
    pixels: int = 8


class Grouped:
    @by_field
    def __init__(self, classes, *, size: Size, clip: Clip = Clip(4), rate: float = 0.5, rngs=None):
        self.given = classes, size, clip, rate, rngs


def test_options_of_a_group_are_given_one_by_one():
    assert Grouped(3, dim=5).given == (3, Size(5, 2), Clip(4, 8), 0.5, None)
    given = Grouped(classes=3, dim=5, depth=1, pixels=9, rate=0.1, rngs="r").given
    assert given == (3, Size(5, 1), Clip(4, 9), 0.1, "r")


def test_a_constructor_of_groups_shows_their_options():
    parameters = inspect.signature(Grouped).parameters
    assert list(parameters) == ["classes", "dim", "depth", "frames", "pixels", "rate", "rngs"]
    assert parameters["dim"].default is inspect.Parameter.empty and parameters["frames"].default == 4
    assert parameters["depth"].default == 2 and parameters["depth"].annotation is int
    assert arguments_of(Grouped) == ["classes", "depth", "dim", "frames", "pixels", "rate"]


@pytest.mark.parametrize(("given", "message"), [({}, "'dim'"), ({"dim": 1, "size": Size(1)}, "'size'")])
def test_a_missing_option_and_a_group_itself_are_refused(given, message):
    with pytest.raises(TypeError, match=message):
        Grouped(3, **given)
