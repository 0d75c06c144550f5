"""`vidjax serve` as a process: answers like `predict` and `embed`, hostile uploads, many at a time, and the end."""

import os
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import vidjax
from tests import hostile
from tests.apps.test_embed import save, scene
from tests.client import ask, form, serving, tree_memory
from tests.peers import needs
from tests.videos import write_video
from tests.watching import opened
from vidjax.__main__ import main
from vidjax.errors import UserError
from vidjax.serving.answers import TrainedRun
from vidjax.serving.limits import Limits

needs("fastapi")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save(tmp_path_factory.mktemp("runs") / "toy")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return [write_video(folder / f"{n}.mp4", scene(n, 12)) for n in range(3)]


def test_answers_are_those_of_the_predictor(run, videos):
    served = TrainedRun(run, Limits(), num_clips=2)
    predictor = vidjax.Predictor(run, num_clips=2)
    example = served.answers["predict"].read(str(videos[0]), {})
    views = [{name: array[view] for name, array in example[0].items()} for view in range(2)]
    outputs = served.compute(views, 2)
    expected = predictor.predict(str(videos[0]))[0].to_dict()
    found = served.answers["predict"].of(example, outputs)
    assert [each["class"] for each in found["top"]] == [each["class"] for each in expected["top"]]
    np.testing.assert_allclose(*([each["score"] for each in one["top"]] for one in (found, expected)), rtol=1e-5)
    assert len(found["clips"]) == 2 and "path" not in found
    (vectors,) = predictor.embed(str(videos[0]))
    clips = served.answers["embed"].of(example, outputs)["clips"]
    np.testing.assert_allclose([clip["vector"] for clip in clips], vectors.vectors, rtol=1e-5, atol=1e-6)
    assert [clip["start"] for clip in clips] == vectors.start.tolist()


def test_bad_options_are_one_clear_line(run, tmp_path, capsys):
    assert main(["serve", str(tmp_path)]) == 1 and "checkpoint" in capsys.readouterr().err
    assert main(["serve", run, "--host", "256.1.1.1"]) == 1
    assert "cannot listen at 256.1.1.1:8000" in " ".join(capsys.readouterr().err.split())


def test_a_run_that_reads_features_is_refused(tmp_path):
    from vidjax.config import Config, ModelConfig
    from vidjax.data.records import LabelSpace
    from vidjax.training.checkpoints import Meta, save_model

    spec = vidjax.get_spec("feature_linear_tiny")
    model = vidjax.create_model("feature_linear_tiny", num_classes=2)
    save_model(tmp_path / "run", model, Meta(Config(model=ModelConfig(name=spec.name)), spec, LabelSpace(("a", "b"))))
    with pytest.raises(UserError, match="only networks of video and sound can be served"):
        TrainedRun(str(tmp_path / "run"), Limits())


@pytest.mark.slow
def test_a_server_under_attack_and_under_load(run, videos, tmp_path):
    others = hostile.write_others(tmp_path / "others")
    kinds, good = list(hostile.uploads(others, 2 * 24)), videos[0].read_bytes()
    expected = vidjax.Predictor(run).predict(str(videos[0]))[0].classes[0].name
    options = ["--max-batch", "4", "--decode-seconds", "3", "--decode-gib", "0.25"]
    with serving(run, *options) as served:
        port, pid = served.port, served.process.pid
        assert "POST /predict, POST /embed" in served.first_line
        assert ask(port, "/predict", good)[1]["top"][0]["class"] == expected
        assert ask(port, "/embed", *form(good))[0] == 200

        # Hostile and broken uploads, by four clients; good ones in between.
        with opened(others) as names, ThreadPoolExecutor(4) as pool:
            attacks = [pool.submit(ask, port, "/predict", content) for _, content in kinds]
            answers = [ask(port, "/predict", good) for _ in range(10)]
            statuses = Counter(attack.result()[0] for attack in attacks)
        assert set(statuses) <= {200, 422}, statuses
        assert statuses[422] >= 40, "some damaged files still have their first frames"
        assert [status for status, _ in answers] == [200] * 10
        assert {each["top"][0]["class"] for _, each in answers} == {expected}
        assert served.process.poll() is None and tree_memory(pid) < 3 << 30
        assert "other.mp4" not in names and "other.ts" not in names and "0.png" not in names

        # Many at a time.
        with ThreadPoolExecutor(64) as pool:
            found = list(pool.map(lambda n: ask(port, "/predict", videos[n % 3].read_bytes())[0], range(64)))
        assert found == [200] * 64
        figures = dict(line.rsplit(" ", 1) for line in ask(port, "/metrics")[1].splitlines() if line[0] != "#")
        batches, views = (float(figures[f"vidjax_batch_views_{name}"]) for name in ("count", "sum"))
        assert views > batches, "some batches had more than one view"

        # Told to end, it answers what is under way, and takes no more.
        with ThreadPoolExecutor(8) as pool:
            last = [pool.submit(ask, port, "/predict", good) for _ in range(8)]
            threading.Event().wait(0.05)
            os.kill(pid, signal.SIGTERM)
            outcomes = Counter()
            for each in last:
                try:
                    outcomes[each.result()[0]] += 1
                except OSError:  # it came after the signal
                    outcomes["refused"] += 1
        assert served.process.wait(30) == 0
        assert set(outcomes) <= {200, "refused", 503} and outcomes[200] >= 1, outcomes
        assert "stopped after" in served.process.stdout.read()
        with pytest.raises(OSError):
            ask(port, "/health")
