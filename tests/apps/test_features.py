"""`vidjax features`: files of long videos, kept, completed, and refused where they are others."""

import numpy as np
import pytest

import vidjax
from tests.videos import numbered_frames, write_video
from vidjax.__main__ import main
from vidjax.config import ClipConfig, Config, DataConfig, ModelConfig
from vidjax.config.spec import resolve_spec
from vidjax.data.reading.feature_file import read_feature_file
from vidjax.data.records import LabelSpace
from vidjax.models.fingerprint import weights_fingerprint
from vidjax.training.checkpoints import Meta, save_model

DATA = DataConfig(clip=ClipConfig(num_frames=4, size=16, resize=(20,)))
CONFIG = Config(model=ModelConfig(name="conv3d_tiny", compute_dtype="float32"), data=DATA)
SPEC = resolve_spec(vidjax.get_spec("conv3d_tiny"), DATA)


@pytest.fixture(scope="module")
def model():
    return vidjax.create_model("conv3d_tiny", num_classes=3)


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "toy", model, Meta(CONFIG, SPEC, LabelSpace(("a", "b", "c"))))


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    write_video(folder / "one.mp4", numbered_frames(30))
    write_video(folder / "deep" / "two.mp4", numbered_frames(18))
    (folder / "bad.mp4").write_bytes(b"no video")
    return folder


def test_files_of_a_folder(run, model, videos, tmp_path, capsys):
    out = tmp_path / "features"
    assert main(["features", str(run), str(videos), str(out), "--stride", "4", "--batch-size", "3"]) == 1
    said = capsys.readouterr()
    assert "features of 2 videos" in said.out and "1 could not be read" in said.out and "bad.mp4" in said.err
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == ["deep/two.npz", "one.npz"]
    file = read_feature_file(str(out / "one.npz"))
    stated = {"stride": 4.0, "window": 8.0, "fps": 10.0, "duration": 3.0, "model": weights_fingerprint(model)}
    assert {name: file.stated[name] for name in stated} == pytest.approx(stated)
    # Windows of 8 frames, of which the network sees every second one.
    assert len(file.vectors) == 7
    alone = vidjax.Predictor(run, num_clips=1)
    write_video(tmp_path / "part.mp4", numbered_frames(30)[8:16])
    np.testing.assert_allclose(file.vectors[2], alone.features([tmp_path / "part.mp4"])[0], atol=0.05)
    with np.load(out / "one.npz") as arrays:
        np.testing.assert_allclose(arrays["times"], (np.arange(7) * 4 + 4) / 10)


def test_complete_files_are_kept_and_others_refused(run, videos, tmp_path, capsys):
    (videos / "bad.mp4").unlink()
    out, command = tmp_path / "features", ["features", str(run), str(videos)]
    assert main([*command, str(out), "--half"]) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    (out / "deep" / "two.npz").unlink()  # as if the command had been interrupted
    assert main([*command, str(out), "--half"]) == 0
    assert "features of 1 video" in capsys.readouterr().out
    assert (out / "one.npz").stat().st_mtime_ns == before[out / "one.npz"]
    assert read_feature_file(str(out / "deep" / "two.npz")).vectors.dtype == np.float16
    assert main([*command, str(out), "--stride", "2"]) == 1
    assert "has features with stride = 4.0, not 2" in capsys.readouterr().err


def test_names_must_differ(run, videos, tmp_path, capsys):
    write_video(videos / "deep" / "one.mp4", numbered_frames(8))
    assert main(["features", str(run), str(videos), str(tmp_path / "out")]) == 1
    assert "have the same name" in capsys.readouterr().err


def test_without_videos_or_config_it_says_what_to_give(run, capsys):
    assert main(["features", str(run)]) == 1
    assert "give VIDEOS and OUT, or --config=FILE" in capsys.readouterr().err
