"""torchvision's tables: every published key has its place in every named model, and the logits are the reference's."""

import numpy as np
import pytest

from tests.models.abstract import abstract
from tests.weights.answers import errors
from vidjax.models.registry import get_spec, list_models
from vidjax.models.state import split
from vidjax.weights.mapping import convert
from vidjax.weights.read import CheckpointError
from vidjax.weights.table import recognise
from vidjax.weights.tables.torchvision import SOURCES

LISTINGS = {
    "frame_pool_r18": "torchvision2d_resnet18",
    "frame_pool_r34": "torchvision2d_resnet34",
    "frame_pool_r50": "torchvision2d_resnet50",
    "frame_pool_r101": "torchvision2d_resnet101",
    "single_frame_r50": "torchvision2d_resnet50",
    "tsn_r50": "torchvision2d_resnet50",
    "tsn_r101": "torchvision2d_resnet101",
    "tsm_r50": "torchvision2d_resnet50",
    "r3d_18": "torchvision_r3d_18",
    "mc3_18": "torchvision_mc3_18",
    "r2plus1d_18": "torchvision_r2plus1d_18",
}


TABLES = [table for table in SOURCES if table.name.startswith("torchvision")]


def empty_state(shared, listing: str) -> dict[str, np.ndarray]:
    """Zeros of the listed shapes that take no memory."""
    rows = (shared / "reference" / "checkpoint-keys" / f"{listing}.tsv").read_text().splitlines()
    cells = (row.split("\t") for row in rows)
    shapes = {key: tuple(int(n) for n in shape.split("x") if n) for key, shape, *_ in cells}
    return {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}


def shapes_of(name: str, num_classes: int) -> dict[str, tuple[int, ...]]:
    _, params, stats = split(abstract(name, num_classes))
    return {path: array.shape for path, array in {**params, **stats}.items()}


@pytest.mark.slow(after=4, first=2)
@pytest.mark.parametrize("name", LISTINGS)
def test_every_published_key_and_shape_has_its_place(shared, name):
    state = empty_state(shared, LISTINGS[name])
    shapes = shapes_of(name, len(state["fc.bias"]))
    table = recognise(state, name)
    assert table.name in get_spec(name).sources
    assert convert(state, table, shapes).keys() == shapes.keys()
    floats = [array for key, array in state.items() if not key.endswith("num_batches_tracked")]
    assert sum(array.size for array in floats) == sum(int(np.prod(shape)) for shape in shapes.values())


@pytest.mark.parametrize("name", LISTINGS)
def test_parameter_counts_are_the_references(shared, name):
    rows = [line.split("\t") for line in (shared / "reference" / "models.tsv").read_text().splitlines()[1:]]
    counts = {row[0]: int(row[1]) for row in rows}
    num_classes = 1000 if LISTINGS[name].startswith("torchvision2d") else get_spec(name).num_classes
    model = abstract(name, num_classes)
    assert sum(array.size for array in split(model)[1].values()) == counts[LISTINGS[name]]


def test_every_model_that_these_tables_serve_is_compared_and_names_torchvision():
    served = {name for name in list_models() for table in TABLES if table.serves(name)}
    assert served == {*LISTINGS, "tsn_r50_flow"}  # its first kernels are other ones, see tests/weights/test_inflate.py
    assert all(any(s.startswith("torchvision") for s in get_spec(name).sources) for name in served)


def test_layouts(shared):
    rng = np.random.default_rng(0)
    state = empty_state(shared, "torchvision_r2plus1d_18")
    for key in ("stem.0.weight", "layer2.0.conv1.0.3.weight", "fc.weight", "layer3.1.conv2.0.1.running_var"):
        state[key] = rng.standard_normal(state[key].shape).astype(np.float32)
    arrays = convert(state, recognise(state, "r2plus1d_18"), shapes_of("r2plus1d_18", 400))
    for key, path in (
        ("stem.0.weight", "stem.conv.spatial.kernel"),
        ("layer2.0.conv1.0.3.weight", "stages.1.0.conv1.temporal.kernel"),
    ):
        np.testing.assert_array_equal(arrays[path], state[key].transpose(2, 3, 4, 1, 0))
    np.testing.assert_array_equal(arrays["head.kernel"], state["fc.weight"].T)
    np.testing.assert_array_equal(arrays["stages.2.1.conv2.norm.var"], state["layer3.1.conv2.0.1.running_var"])


def test_a_deeper_network_is_refused_by_name(shared):
    state = empty_state(shared, "torchvision2d_resnet34")
    with pytest.raises(CheckpointError, match="does not fit the model") as caught:
        convert(state, recognise(state, "frame_pool_r18"), shapes_of("frame_pool_r18", 1000))
    assert any("layer3.5.conv2.weight" in line for lines in caught.value.problems.values() for line in lines)


def test_another_kind_of_network_is_refused(shared):
    state = empty_state(shared, "torchvision_r3d_18")
    with pytest.raises(CheckpointError, match=r"stem\.3\.weight"):
        recognise(state, "r2plus1d_18")


@pytest.mark.slow(first=3)
@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("torchvision2d_resnet50_224", "frame_pool_r50"),
        ("torchvision_r3d_18_8x112", "r3d_18"),
        ("torchvision_r2plus1d_18_8x112", "r2plus1d_18"),
        ("torchvision_mc3_18_8x112", "mc3_18"),
        ("torchvision2d_resnet18_224", "frame_pool_r18"),
        ("torchvision2d_resnet34_224", "frame_pool_r34"),
        ("torchvision2d_resnet101_224", "frame_pool_r101"),
    ],
)
def test_logits_are_the_references(reference, name):
    assert max(errors(reference, name)) < 1e-4
