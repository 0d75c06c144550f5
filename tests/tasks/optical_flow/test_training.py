"""From folders of pairs to a run and back: trained, evaluated, and used by `vidjax flow` and `vidjax evaluate flow`."""

import json

import numpy as np
import pytest

from tests.videos import write_video
from vidjax.__main__ import main
from vidjax.config import Config, DataConfig, EvalConfig, ModelConfig, OptimizerConfig, PairConfig, TrainConfig
from vidjax.data.flow_shapes import write_flow_pairs
from vidjax.training.loop import train
from vidjax.video.flow_files import read_flow


@pytest.mark.slow
def test_a_network_is_trained_on_folders_and_used(tmp_path, capsys):
    folder = write_flow_pairs(tmp_path / "pairs", num_train=8, num_eval=4, size=32)
    (folder / "train" / "00003_flow.flo").write_bytes(b"no flow")
    (folder / "train" / "00004_img2.ppm").write_bytes(b"no picture")
    config = Config(
        model=ModelConfig(name="raft_small_tiny"),
        data=DataConfig(
            train=str(folder / "train"), eval=str(folder / "val"), pairs=PairConfig(height=32, width=32)
        ),
        optimizer=OptimizerConfig(name="adamw", learning_rate=1e-3, schedule="linear"),
        train=TrainConfig(batch_size=8, epochs=2),
        eval=EvalConfig(batch_size=8),
    )  # fmt: skip
    run = tmp_path / "run"
    summary = train(config, run)
    assert summary["num_videos"] == 4 and summary["flow"]["epe"] > 0 and summary["coverage"] == 1
    bad = {json.loads(line)["path"] for line in (run / "bad_records.jsonl").read_text().splitlines()}
    assert {path.rpartition("/")[2] for path in bad} <= {"00003_img1.ppm", "00003_flow.flo", "00004_img1.ppm"} and bad
    capsys.readouterr()
    with pytest.raises(SystemExit, match="0"):
        main(["evaluate", "flow", str(folder / "val"), "--layout", "chairs", "--method", str(run), "--json"])
    figures = json.loads(capsys.readouterr().out)["figures"]["chairs"]
    assert figures["epe"] > 0
    video = write_video(tmp_path / "a.mp4", np.random.default_rng(0).integers(0, 256, (3, 40, 48, 3)).astype(np.uint8))
    assert main(["flow", str(video), str(tmp_path / "out"), "--method", str(run), "--format", "flo"]) == 0
    assert read_flow(tmp_path / "out" / "frame_00001.flo")[0].shape == (40, 48, 2)
    assert main(["flow", str(video), str(tmp_path / "o.mp4"), "--method", str(run), "--weights", "a.pth"]) == 1
    assert "is a run with weights of its own" in " ".join(capsys.readouterr().err.split())
