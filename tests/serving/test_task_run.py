"""Answers that tasks bring, over HTTP: classes of boxes, captions and answers to questions, and what is refused."""

import json
from urllib.parse import quote

import numpy as np
import pytest
from rich.console import Console

from tests.apps.test_caption import SENTENCES, SMALL, chatty, saved
from tests.apps.test_embed import save
from tests.client import ask
from tests.models.abstract import filled
from tests.peers import needs
from tests.serving.test_app import running
from tests.videos import write_video
from vidjax.apps.detect_people import _classified
from vidjax.captioner import Captioner
from vidjax.config import Config, ModelConfig
from vidjax.data.records import LabelSpace
from vidjax.errors import UserError
from vidjax.models.registry import abstract_model, get_spec
from vidjax.parallel import make_mesh, replicated
from vidjax.serving.answers import TrainedRun
from vidjax.serving.limits import Limits
from vidjax.serving.task_run import open_run
from vidjax.tasks.detect.service import boxes_of_text
from vidjax.text import train_tokenizer
from vidjax.training.checkpoints import Meta, load_model, save_model

needs("fastapi")

NAMES = ("walk", "sit", "wave")
LIMITS = Limits(max_batch=2, queue=4, seconds=60, threads=2, windows=12)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    frames = np.random.default_rng(0).integers(0, 256, (20, 48, 64, 3), np.uint8)
    return write_video(tmp_path_factory.mktemp("videos") / "clip.mp4", frames)


@pytest.fixture(scope="module")
def boxes_run(tmp_path_factory):
    spec = get_spec("slow_detect_tiny").with_video(num_frames=4, stride=1, size=32, resize=(32,))
    meta = Meta(Config(model=ModelConfig(name=spec.name)), spec, LabelSpace(NAMES, several=True))
    model = filled(abstract_model(spec.name, num_classes=len(NAMES)))
    return str(save_model(tmp_path_factory.mktemp("runs") / "boxes", model, meta))


@pytest.fixture(scope="module")
def speaking_run(tmp_path_factory):
    tokenizer = train_tokenizer(SENTENCES, 80, "clip")
    return str(saved(tmp_path_factory.mktemp("runs") / "words", "r2plus1d_caption_tiny", tokenizer, **SMALL))


@pytest.mark.slow
def test_boxes_have_the_classes_that_detect_finds(boxes_run, video, tmp_path):
    """In the client's order; those of one time are of one clip, or of two if they are more than the network takes."""
    left = [(1.5, (0.3, 0.1, 0.6, 0.9)), *[(0.5, (i / 20, 0.1, i / 20 + 0.4, 0.9)) for i in range(9)]]
    asked = json.dumps([{"time": at, "box": box} for at, box in [*left, (0.5, (0.0, 0.1, 0.01, 0.2))]])
    run = open_run(boxes_run, LIMITS, top=2)
    assert list(run.answers) == ["boxes"] and run.facts["classes"] == list(NAMES)
    with running(tmp_path, LIMITS, run) as (port, _, _):
        status, told = ask(port, f"/boxes?boxes={quote(asked)}", video.read_bytes())
        assert status == 200, told
        for at, words in ((7, "the time 7 s is after the end"), (0.5, "at most 12 are read here")):
            many = json.dumps([{"time": at + i / 100, "box": [0, 0, 1, 1]} for i in range(13 if at < 1 else 1)])
            status, wrong = ask(port, f"/boxes?boxes={quote(many)}", video.read_bytes())
            assert status == 422 and words in wrong["detail"], wrong
        assert ask(port, f"/boxes?boxes={quote(asked)}", b"no video")[0] == 422
        status, wrong = ask(port, "/boxes", video.read_bytes())
        assert status == 422 and "boxes: give" in wrong["detail"]
        assert ask(port, "/predict", video.read_bytes())[0] == 404
    found = told["boxes"]
    assert [(each["time"], tuple(each["box"])) for each in found[:-1]] == left
    mesh = make_mesh(1)
    model, meta, _ = load_model(boxes_run, sharding=replicated(mesh))
    given = [np.array([box for at, box in left if at == moment]) for moment in (0.5, 1.5)]
    expected = _classified(model, meta, str(video), np.array([0.5, 1.5]), given, mesh, Console(quiet=True))
    for each, scores in zip([*found[1:10], found[0]], expected.scores, strict=True):
        best = np.argsort(-scores)[:2]
        assert [top["class"] for top in each["top"]] == [NAMES[k] for k in best]
        np.testing.assert_allclose([top["score"] for top in each["top"]], scores[best], rtol=1e-4)
    assert found[-1]["top"] == [], "the view, a square of the middle, does not show this box"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "boxes: give"),
        ("[]", "at least one box"),
        ("[" * 100_000, "boxes: give"),
        ('[{"time": NaN, "box": [0, 0, 1, 1]}]', "boxes: give"),
        ('[{"time": true, "box": [0, 0, 1, 1]}]', "boxes: give"),
        ('[{"time": -1, "box": [0, 0, 1, 1]}]', "a time from 0 on"),
        ('[{"time": 1, "box": [0, 0, 1]}]', "four corners"),
        ('[{"time": 1, "box": [0, 0, 300, 200]}]', "is in pixels"),
        ('{"time": 1}', "boxes: give"),
    ],
)
def test_boxes_that_cannot_be_used(text, words):
    with pytest.raises(UserError, match=words):
        boxes_of_text(text)


@pytest.mark.slow
def test_captions_and_answers_are_those_of_the_captioner(speaking_run, video, tmp_path):
    captioner, question = Captioner(speaking_run), "which colour is the square?"
    with running(tmp_path, LIMITS, open_run(speaking_run, LIMITS)) as (port, _, _):
        content = video.read_bytes()
        assert ask(port, "/caption", content) == (200, {"text": captioner(video)})
        assert ask(port, f"/ask?question={quote(question)}", content) == (200, {"text": captioner(video, question)})
        for path, words in (
            ("/ask", "question: is missing"),
            ("/ask?question=%20", "question: is missing"),
            (f"/ask?question={quote(question * 9)}", "the network takes texts of 32: shorten the question"),
            (f"/caption?question={quote(question)}", "takes nothing beside the file"),
        ):
            status, told = ask(port, path, content)
            assert status == 422 and words in told["detail"], told
        assert ask(port, "/caption", b"no video")[0] == 422


def test_what_serves_a_folder_is_chosen_by_its_task(boxes_run, speaking_run, tmp_path):
    assert isinstance(open_run(save(tmp_path / "classes"), LIMITS), TrainedRun)
    for folder, given, option in (
        (boxes_run, {"num_clips": 2}, "--num-clips"),
        (boxes_run, {"num_crops": 3}, "--num-crops"),
        (speaking_run, {"top": 3}, "--top"),
    ):
        with pytest.raises(UserError, match=f"{option}: has no effect on the answers of"):
            open_run(folder, LIMITS, **given)


@pytest.mark.slow
def test_networks_that_need_more_than_a_file_are_refused(tmp_path):
    run = saved(tmp_path / "smol", "smolvlm2_tiny", chatty(256), size=64)
    with pytest.raises(UserError, match=r"compiled anew for each number.*use `vidjax ask`"):
        open_run(str(run), LIMITS)
    banked = "slow_lfb_detect_tiny"
    spec = get_spec(banked)
    meta = Meta(Config(model=ModelConfig(name=banked)), spec, LabelSpace(NAMES, several=True))
    model = filled(abstract_model(banked, num_classes=len(NAMES)))
    with pytest.raises(UserError, match="a file alone has only video and the boxes"):
        open_run(str(save_model(tmp_path / "bank", model, meta)), LIMITS)
