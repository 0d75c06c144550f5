"""The whole road on a few generated scenes: training, evaluation on jittered boxes, the command for one video."""

import json

import pytest

from configs import motion_people
from vidjax.apps.detect_people import detect_people
from vidjax.apps.evaluate import evaluate_checkpoint
from vidjax.data.synthetic_people import write_people
from vidjax.training.checkpoints import load_model
from vidjax.training.loop import train


@pytest.mark.slow
def test_from_generated_scenes_to_a_video_with_boxes(tmp_path):
    folder = write_people(tmp_path / "people", num_train=4, num_eval=2, size=64)
    config = motion_people.get_config()
    config.model.name, config.train.batch_size, config.train.steps = "slow_detect_tiny", 2, 2
    config.mesh.data, config.data.reading.num_threads = 1, 1
    config.data.synthetic, config.data.clip.size, config.data.clip.resize = "", 32, (32,)
    config.data.train, config.data.eval = str(folder / "train.csv"), str(folder / "val.csv")
    train(config, tmp_path / "run")
    found = json.loads((tmp_path / "run" / "eval.json").read_text())
    assert found["num_boxes"] == 24 and 0 <= found["boxes"]["mAP"] <= 1 and found["views"]["sampling"] == "key_frame"
    own = load_model(tmp_path / "run")[1].config
    own.task.detect.eval_jitter = 0.7
    jittered = evaluate_checkpoint(tmp_path / "run", own)
    assert jittered["settings"] == {"task.detect.eval_jitter": 0.7}
    assert jittered["data"]["fingerprint"] != found["data"]["fingerprint"]
    assert (tmp_path / "run" / "eval_eval_jitter-0.7" / "detections.csv").exists()
    lines = (folder / "val.csv").read_text().splitlines()
    (folder / "one.csv").write_text("\n".join(line for line in lines if "path" in line or "0000" in line) + "\n")
    video = str(folder / "val" / "0000.mp4")
    assert detect_people(tmp_path / "run", video, out=tmp_path / "out", boxes=str(folder / "one.csv")) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "0000.mp4", "classes.pbtxt", "detections.csv", "tubes.json"
    }  # fmt: skip
