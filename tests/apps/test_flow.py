"""`vidjax flow`: a video of colours, files of both kinds, a network with weights, and what it refuses."""

import numpy as np
import pytest

from tests.videos import write_video
from vidjax.__main__ import main
from vidjax.models.flow_networks import create_flow_network
from vidjax.video import VideoReader
from vidjax.video.flow_files import read_flow
from vidjax.weights.flow_networks import flow_network_state_dict
from vidjax.weights.write import write_file


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Noise that moves two pixels to the right in every frame."""
    rng = np.random.default_rng(0)
    noise = np.kron(rng.integers(0, 256, (16, 24, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    frames = np.stack([np.roll(noise, 2 * step, axis=1) for step in range(4)])
    return str(write_video(tmp_path_factory.mktemp("flow") / "noise.mp4", frames))


def test_video_of_colours(video, tmp_path, capsys):
    out = tmp_path / "new" / "flow.mp4"
    assert main(["flow", video, str(out), "--method", "farneback", "--bound", "2"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("3 fields of flow by farneback, motion up to") and line.strip().endswith(str(out))
    with VideoReader(out) as reader:
        assert (len(reader), reader.height, reader.width) == (3, 64, 96)
        red, green, blue = reader.read([1])[0][8:-8, 16:-16].reshape(-1, 3).mean(0)
    assert red > 200 and green < 90 and blue < 90  # to the right


@pytest.mark.parametrize(("form", "ending"), [("flo", ".flo"), ("kitti", ".png")])
def test_files(video, tmp_path, form, ending):
    assert main(["flow", video, str(tmp_path / "out"), "--format", form, "--size", "32"]) == 0
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == [f"frame_0000{i}{ending}" for i in range(3)]
    field, known = read_flow(tmp_path / "out" / f"frame_00001{ending}")
    assert field.shape == (32, 48, 2) and known.all()
    assert abs(np.median(field[..., 0]) - 1) < 0.3 and abs(np.median(field[..., 1])) < 0.3  # half the size


@pytest.mark.slow
def test_a_network(video, tmp_path, monkeypatch):
    """A small one stands in for `raft_large`."""
    from vidjax.models import flow_networks

    tiny = flow_networks.FLOW_NETWORKS["raft_tiny"]
    weights = tmp_path / "raft.safetensors"
    write_file(weights, flow_network_state_dict(create_flow_network("raft_tiny"), "raft_tiny"), "torchvision")
    monkeypatch.setitem(flow_networks.FLOW_NETWORKS, "raft_large", tiny)
    arguments = ["--method", "raft_large", "--weights", str(weights), "--updates", "1", "--format", "flo"]
    assert main(["flow", video, str(tmp_path / "out"), *arguments]) == 0
    assert read_flow(tmp_path / "out" / "frame_00002.flo")[0].shape == (64, 96, 2)


@pytest.mark.parametrize(("arguments", "message"), [
    (["out"], "give a file to write the video of colours to"),
    (["out.mp4", "--format", "flo"], "out.mp4: give a folder for the files of --format flo"),
    (["out", "--format", "flo", "--bound", "3"], "--bound 3: is for colours"),
    (["out.mp4", "--method", "raft_small"], "--method raft_small: the network needs its weights"),
    (["out.mp4", "--weights", "a.pth"], "--weights a.pth: dis_fast is no network"),
    (["out.mp4", "--updates", "3"], "--updates 3: dis_fast is no network"),
    (["out.mp4", "--method", "raft_small", "--weights", "absent.pth"], "absent.pth"),
])  # fmt: skip
def test_what_it_refuses(video, arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["flow", video, *arguments]) == 1
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_videos_without_motion(tmp_path, capsys):
    single = write_video(tmp_path / "one.mp4", np.zeros((1, 32, 32, 3), np.uint8))
    assert main(["flow", str(single), str(tmp_path / "out.mp4")]) == 1
    assert "has 1 frame; flow needs two or more" in " ".join(capsys.readouterr().err.split())
    assert main(["flow", str(tmp_path / "absent.mp4"), str(tmp_path / "out.mp4")]) == 1
    assert "absent.mp4" in capsys.readouterr().err
