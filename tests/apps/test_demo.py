"""`vidjax demo`: what its page shows, its HTTP interface, and the page in a real browser."""

import json
import signal

import cv2
import numpy as np
import pytest

import vidjax
from tests.apps.test_embed import CONFIG, DATA, save, scene
from tests.browser import browser
from tests.client import ask, form, listening
from tests.peers import needs
from tests.videos import write_video
from vidjax.__main__ import main
from vidjax.apps.demo import BEST, Showing
from vidjax.config.spec import resolve_spec
from vidjax.data.records import LabelSpace
from vidjax.errors import UserError
from vidjax.training.checkpoints import Meta, save_model

JSON = "application/json"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save(tmp_path_factory.mktemp("runs") / "toy")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("videos") / "a.mp4", scene(0, 30))


@pytest.fixture(scope="module")
def port(run):
    """Port of a page."""
    needs("gradio")
    with listening("demo", run) as served:
        assert "conv3d_tiny, 3 classes: open http://127.0.0.1:" in served.first_line
        yield served.port
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(120) == 0


@pytest.mark.slow
def test_classes_come_first_then_the_timeline_then_the_map(run, video, tmp_path):
    showing = Showing(run, tmp_path, num_clips=2, step=None, top=2)
    assert showing.title == "conv3d_tiny, 3 classes"
    first, second, third = showing.of(str(video), BEST, "hirescam")
    expected = vidjax.Predictor(run, num_clips=2, num_crops=1, top=2)(video).classes
    assert first == ({each.name: pytest.approx(each.score) for each in expected}, None, None)
    assert second[0] == first[0] and second[2] is None
    assert cv2.imread(second[1]).shape[1] > 1000
    with vidjax.VideoReader(third[2]) as reader:
        assert len(reader) == 8 and reader.width == 2 * reader.height
        assert np.ptp(reader.read(range(8))) > 50
    with pytest.raises(UserError, match="'d' is no class of this network; it has a, b, c"):
        list(showing.of(str(video), "d", "hirescam"))


@pytest.mark.slow
def test_a_network_without_classes_is_refused(tmp_path, capsys):
    spec = resolve_spec(vidjax.get_spec("conv3d_tiny"), DATA)
    save_model(tmp_path, vidjax.create_model("conv3d_tiny", num_classes=0), Meta(CONFIG, spec, LabelSpace(())))
    assert main(["demo", str(tmp_path)]) == 1
    assert "conv3d_tiny has no classes" in capsys.readouterr().err


def classified(port, path, class_name=BEST):
    """Events of a call of the page's interface, as (name, data)."""
    data = [{"path": path, "meta": {"_type": "gradio.FileData"}}, class_name, "gradcam"]
    status, told = ask(port, "/gradio_api/call/predict", json.dumps({"data": data}), JSON)
    assert status == 200, told
    lines = ask(port, f"/gradio_api/call/predict/{told['event_id']}")[1].splitlines()
    events = zip(lines[::3], lines[1::3], strict=False)
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in events]


@pytest.mark.slow
def test_the_interface_over_http(run, video, tmp_path, port):
    status, (path,) = ask(port, "/gradio_api/upload", *form(video.read_bytes(), "files", "my clip.mp4"))
    assert status == 200
    *_, (name, (label, line, overlay)) = classified(port, path)
    assert name == "complete"
    expected = vidjax.Predictor(run, num_crops=1)(video).classes
    found = {each["label"]: each["confidence"] for each in label["confidences"]}
    assert found == {each.name: pytest.approx(each.score, abs=1e-4) for each in expected}
    for file in (line, overlay):
        assert ask(port, file["url"].split(str(port))[1])[0] == 200
    page = ask(port, "/")[1]
    assert "fonts.googleapis" not in page and "cdn" not in page.lower()

    # Files of this machine that nobody has uploaded, damaged ones, and unknown classes.
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(video.read_bytes())
    assert classified(port, str(secret))[-1][0] == "error"
    assert ask(port, f"/gradio_api/file={secret}")[0] == 403
    _, (path,) = ask(port, "/gradio_api/upload", *form(b"no video", "files", "x.mp4"))
    name, told = classified(port, path)[-1]
    assert name == "error" and path not in json.dumps(told)


@pytest.mark.slow
def test_the_page_in_a_browser(video, tmp_path, port):
    with browser(tmp_path / "profile") as page:
        page.open(f"http://127.0.0.1:{port}/")
        page.wait("document.querySelector('input[type=file]') !== null")
        page.upload("input[type=file]", video)
        page.wait("document.querySelector('#classes')?.innerText.includes('%')")
        page.wait("document.querySelector('#timeline img')?.naturalWidth > 1000")
        page.wait("[...document.querySelectorAll('video')].filter(v => v.readyState > 1).length == 2")
        picture = page.screenshot(tmp_path / "demo.png")
        others = [
            each for each in page.addresses if not each.startswith((f"http://127.0.0.1:{port}/", "data:", "blob:"))
        ]
    assert not others, "the page needs this machine alone"
    assert cv2.imread(str(picture)).std() > 20
