"""`vidjax evaluate segments|boxes|tubes|labels|frames`, as a user calls it."""

import json

import numpy as np
import pytest

from tests.evaluation.drawn import EVALUATORS
from vidjax.__main__ import main
from vidjax.apps.score_command import KINDS

SEGMENTS = ["segments", str(EVALUATORS / "temporal_predictions.json"), "--truth", str(EVALUATORS / "temporal_gt.json")]
BOXES = ["boxes", str(EVALUATORS / "ava_predictions.csv"), "--truth", str(EVALUATORS / "ava_gt.csv"), "--classes",
         str(EVALUATORS / "ava_action_list.pbtxt")]  # fmt: skip
TEMPORAL = json.loads((EVALUATORS / "temporal_expected.json").read_text())
AVA = json.loads((EVALUATORS / "ava_expected.json").read_text())


@pytest.fixture
def evaluate(capsys):
    """Run the command; exit status, standard output and error."""

    def run(*args):
        with pytest.raises(SystemExit) as end:
            main(["evaluate", *args])
        return end.value.code, *capsys.readouterr()

    return run


def test_segments(evaluate, tmp_path):
    status, out, _ = evaluate(*SEGMENTS, "--out", str(tmp_path / "scores"))
    assert status == 0 and "protocol official" in out and "17.92 %" in out and "note: 12 predicted segments are" in out
    found = json.loads((tmp_path / "scores" / "eval.json").read_text())
    expected = TEMPORAL["official_activitynet"]
    assert found["protocol"] == "official" and found["segments"]["mAP"] == pytest.approx(expected["average_mAP"])
    assert found["segments"]["mAP@0.75"] == pytest.approx(expected["mAP"][5])
    for name, values in zip(expected["classes"], expected["ap"], strict=True):
        assert found["ap_by_threshold"][name] == pytest.approx(values)
        assert found["per_class"][name]["AP"] == pytest.approx(np.mean(values))
    assert found["files"] == ["per_class.png"] and (tmp_path / "scores" / "per_class.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (["--protocol", "actionformer", "--thresholds", "thumos"], "deduplicated_thumos"),
        (["--protocol", "opentad", "--subset", "Validation"], "opentad_activitynet"),
    ],
)
def test_protocols_and_thresholds_of_segments(evaluate, options, key):
    _, out, _ = evaluate(*SEGMENTS, *options, "--json")
    found = json.loads(out)
    assert found["segments"]["mAP"] == pytest.approx(TEMPORAL[key]["average_mAP"], rel=1e-12)
    assert found["protocol"] == options[1]


def test_proposals(evaluate):
    _, out, _ = evaluate(*SEGMENTS, "--proposals", "--protocol", "mmaction2", "--json")
    found = json.loads(out)["proposals"]
    assert 100 * found["area"] == pytest.approx(TEMPORAL["proposals"]["auc"], rel=1e-12)
    assert found["AR@10"] == pytest.approx(TEMPORAL["proposals"]["AR_at_10"], rel=1e-12)


def test_boxes(evaluate):
    _, out, _ = evaluate(*BOXES, "--json")
    found, expected = json.loads(out), AVA["official"]
    assert found["boxes"]["mAP@0.5"] == pytest.approx(expected["PascalBoxes_Precision/mAP@0.5IOU"], rel=1e-12)
    assert found["detections_left_out"]["after the best 50 of a frame"] == 15
    assert found["per_class"]["watch (a person)"] == {"AP": None, "num_truths": 0}
    excluded = ["--exclude", str(EVALUATORS / "ava_excluded.csv"), "--protocol", "mmaction2"]
    _, out, _ = evaluate(*BOXES, *excluded)
    assert f"{100 * AVA['mmaction2_excluded']['overall']:.2f} %" in out and "protocol mmaction2" in out
    assert "note: predicted boxes in excluded frames do not count: 6" in out


def test_tubes(evaluate, tmp_path):
    boxes = [[0, 0, 10, 10]] * 4
    truth = [{"video": v, "label": "run", "frames": [1, 2, 3, 4], "boxes": boxes} for v in "ab"]
    found = [truth[0] | {"score": 0.9}, truth[1] | {"score": 0.8, "frames": [2, 3, 4, 5]}]
    for name, tubes in (("t", truth), ("p", found)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"tubes": tubes}))
    places = [str(tmp_path / "p.json"), "--truth", str(tmp_path / "t.json")]
    _, out, _ = evaluate("tubes", *places, "--json")
    figures = json.loads(out)["tubes"]
    assert (figures["mAP@0.2"], figures["mAP@0.5"]) == (1.0, 1.0) and figures["mAP@0.55"] == 0.5
    assert figures["mAP@0.5:0.95"] == pytest.approx((1 + 9 * 0.5) / 10)
    _, out, _ = evaluate("tubes", *places, "--protocol", "act", "--thresholds", "0.55", "0.65")
    assert "protocol act" in out and "mAP@0.65" in out and "0.5:0.95" not in out


def test_labels_of_videos(evaluate, tmp_path):
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    np.savez(tmp_path / "scores.npz", scores=scores, targets=np.array([0, 1, 1]), class_names=["left", "right"])
    _, out, _ = evaluate("labels", str(tmp_path), "--json")
    found = json.loads(out)
    assert found["labels"] == {"top1": pytest.approx(2 / 3), "mean of classes": 0.75}
    assert found["per_class"]["right"] == {"top1": 0.5, "num_videos": 2}
    np.savez(tmp_path / "several.npz", scores=scores, targets=np.array([[1, 0], [1, 1], [0, 0]]))
    _, out, _ = evaluate("labels", str(tmp_path / "several.npz"), "--json")
    found = json.loads(out)
    assert found["labels"]["mAP"] == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2) and list(found["per_class"]) == ["0", "1"]
    assert found["labels"]["mAP of samples"] == 1.0


def test_frames_of_videos(evaluate, tmp_path):
    rng = np.random.default_rng(0)
    file = tmp_path / "frames.npz"
    names = ["background", "run", "unclear"]
    np.savez(file, scores=rng.random((30, 3)), targets=np.arange(30) % 3, class_names=names)
    _, out, _ = evaluate("frames", str(file), "--background", "background", "--ambiguous", "2", "--json")
    found = json.loads(out)
    assert found["num_frames"] == 20 and found["per_class"]["run"]["num_frames"] == 10
    assert found["per_class"]["background"]["AP"] is None and found["calibrated_ap"]["unclear"] is None
    assert found["frames"]["mAP"] == found["per_class"]["run"]["AP"]
    status, _, err = evaluate("frames", str(file), "--background", "walk")
    assert status == 1 and "no class 'walk'; the classes are background, run, unclear" in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([*SEGMENTS, "--thresholds", "50"], "--thresholds: numbers in 0-1, or one of thumos, activitynet"),
        ([*SEGMENTS, "--protocol", "mmaction2"], "--protocol mmaction2 is for --proposals"),
        (["segments", "absent.json", "--truth", SEGMENTS[3]], "absent.json"),
        (["labels", "absent.npz"], "absent.npz holds no scores of an evaluation"),
    ],
)
def test_errors_are_messages(evaluate, args, message):
    status, _, err = evaluate(*args)
    assert status == 1 and err.startswith("error: ") and message in err and "Traceback" not in err


@pytest.mark.parametrize("args", [["segment", "p.json"], ["boxes"], [*BOXES, "--protocol", "coco"]])
def test_wrong_arguments(evaluate, args):
    status, _, err = evaluate(*args)
    assert status == 2 and ("choose from" in err or "required" in err)


@pytest.mark.parametrize("kind", KINDS)
def test_help(evaluate, kind):
    status, out, _ = evaluate(kind, "--help")
    assert status == 0 and "--out FOLDER" in out


def test_a_run_keeps_its_own_result(evaluate, tmp_path):
    for name in ("eval.json", "config.json"):
        (tmp_path / name).write_text("{}")
    status, _, err = evaluate(*SEGMENTS, "--out", str(tmp_path))
    assert status == 1 and "has a run and its own result" in err


def test_runs_are_evaluated_as_before(evaluate):
    status, _, _ = evaluate("--checkpoint", "nowhere", "--workdir", "nowhere")
    assert status == "error: give either --workdir or --checkpoint"


def test_files_that_are_not_there_or_are_folders(evaluate, tmp_path):
    kept = {kind[0]: list(kind) for kind in (SEGMENTS, BOXES)}
    none = str(tmp_path / "none")
    for kind, place, name in (
        ("segments", 1, f"{none}.json"), ("segments", 3, f"{none}.json"), ("segments", 3, f"{none}.csv"),
        ("segments", 3, none), ("boxes", 1, f"{none}.csv"), ("boxes", 3, f"{none}.csv"), ("boxes", 5, none),
    ):  # fmt: skip
        args = [*kept[kind][:place], name, *kept[kind][place + 1 :]]
        assert evaluate(*args)[2] == f"error: {name}: no such file; check the path\n"
    for args in (["tubes", f"{none}.json", "--truth", f"{none}.json"], ["tubes", none, "--truth", f"{none}.pkl"]):
        assert "no such file; check the path" in evaluate(*args)[2]
    assert evaluate("boxes", str(tmp_path), *BOXES[2:])[2] == f"error: {tmp_path}: is a folder; give a file in it\n"
