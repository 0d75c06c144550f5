"""`vidjax bank`: vectors of boxes, kept, read by a network with a bank, and clear errors."""

import re

import numpy as np
import pytest
from flax import nnx

import vidjax
from tests.videos import write_video
from vidjax.__main__ import main
from vidjax.config import ClipConfig, Config, DataConfig, EvalConfig, ModelConfig
from vidjax.config.spec import resolve_spec
from vidjax.data.reading.bank import bank_file, read_bank, write_bank
from vidjax.data.reading.clips import ClipReader
from vidjax.data.records import Boxes, LabelSpace, Record
from vidjax.models.fingerprint import weights_fingerprint
from vidjax.nn.enter import enter
from vidjax.training.checkpoints import Meta, save_model

CLIP = ClipConfig(num_frames=4, stride=1, size=32, resize=(32,))
LABELS = LabelSpace(("a", "b"), several=True)
CORNERS = [(0.1, 0.1, 0.6, 0.9), (0.3, 0.2, 0.8, 0.7), (0.0, 0.0, 1.0, 1.0)]


def saved(folder, name, **clip):
    data = DataConfig(clip=ClipConfig(**(vars(CLIP) | clip)))
    config = Config(
        model=ModelConfig(name=name, compute_dtype="float32"), data=data, eval=EvalConfig(num_clips=1, batch_size=2)
    )
    model = vidjax.create_model(name, num_classes=2)
    spec = resolve_spec(vidjax.get_spec(name), data)
    return save_model(folder, model, Meta(config, spec, LABELS)), model, spec, data


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("plain") / "run", "slow_detect_tiny")


@pytest.fixture
def films(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        write_video(tmp_path / "films" / f"{name}.mp4", rng.integers(0, 256, (20, 48, 48, 3), np.uint8))
    lines = [f"{n}.mp4,{t},{','.join(map(str, c))},0.95" for n in ("one", "two") for t in (0.5, 1.5) for c in CORNERS]
    lines.append("one.mp4,1.5,0,0,0.5,0.5,0.2")  # a box of a low score
    (tmp_path / "boxes.csv").write_text("path,time,x1,y1,x2,y2,score\n" + "\n".join(lines) + "\n")
    return tmp_path / "films"


@pytest.mark.slow
def test_vectors_are_what_the_classifier_reads(plain, films, tmp_path, capsys):
    run, model, spec, data = plain
    out, command = tmp_path / "bank", ["bank", str(run), str(films)]
    assert main([*command, str(out), "--boxes", str(tmp_path / "boxes.csv")]) == 0
    assert "vectors of the boxes of 2 videos" in capsys.readouterr().out
    times, vectors = read_bank(bank_file(out, "one.mp4"), 256)
    np.testing.assert_array_equal(times, [0.5] * 3 + [1.5] * 3)
    record = Record(str(films / "one.mp4"), Boxes(1.5, tuple(CORNERS), ((),) * 3), at=1.5)
    clip, _ = ClipReader(spec, data).evaluate(record, 1, 1)
    video = enter({"video": clip}, {"video": spec.video}, np.float32)["video"]
    model.eval()
    boxes = 32 * np.array(CORNERS, np.float32)[None]
    wanted = nnx.jit(lambda model: model.head.vectors(model.encode(video).maps, boxes))(model)[0]
    np.testing.assert_allclose(vectors[3:], wanted, rtol=2e-3, atol=2e-3)  # stored in half precision
    # Complete files stay.
    bank_file(out, "two.mp4").unlink()
    before = bank_file(out, "one.mp4").stat().st_mtime_ns
    assert main([*command, str(out), "--boxes", str(tmp_path / "boxes.csv")]) == 0
    assert "1 video" in capsys.readouterr().out and bank_file(out, "one.mp4").stat().st_mtime_ns == before
    assert weights_fingerprint(model) in str(np.load(bank_file(out, "two.mp4"))["model"])


@pytest.mark.slow
def test_a_network_with_a_bank_reads_it(plain, films, tmp_path, capsys):
    reader = saved(tmp_path / "reader", "slow_lfb_detect_tiny", bank=str(tmp_path / "none"))[0]
    boxes = ["--boxes", str(tmp_path / "boxes.csv")]
    assert main(["bank", str(plain[0]), str(films), str(tmp_path / "bank"), *boxes]) == 0
    film = str(films / "one.mp4")
    detect = ["detect", str(reader), film, *boxes, "--out", str(tmp_path / "out"), "--no-video"]
    assert main(detect) == 1
    assert "no such folder; make the feature bank by `vidjax bank`" in capsys.readouterr().err
    assert main([*detect, "--bank", str(tmp_path / "bank")]) == 0
    assert len((tmp_path / "out" / "detections.csv").read_text().splitlines()) == 6 * 2
    assert main(["bank", str(reader), str(films), str(tmp_path / "other"), *boxes]) == 1
    assert "slow_lfb_detect_tiny reads a bank; make the bank by a network that reads none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "give VIDEOS and OUT with --boxes FILE, or --config=FILE"),
        (["{films}", "{out}"], "--boxes: needed for VIDEOS"),
        (["{films}", "{out}", "--boxes", "none.csv"], "none.csv: no such file of boxes"),
        (["{films}", "{out}", "--boxes", "{boxes}", "--least", "0.99"], "has no boxes of .* with a score of 0.99"),
        (["{films}", "--boxes", "{boxes}"], "give OUT, the folder of the bank"),
        (["{films}", "{taken}", "--boxes", "{boxes}"], "one.npz: is of another network, 1234, not"),
    ],
)
def test_what_cannot_be_used_is_named(plain, films, tmp_path, capsys, args, message):
    write_bank(tmp_path / "taken" / "one.npz", np.zeros(1), np.zeros((1, 256)), model="1234")
    places = {"films": films, "out": tmp_path / "out", "boxes": tmp_path / "boxes.csv", "taken": tmp_path / "taken"}
    assert main(["bank", str(plain[0]), *(arg.format(**places) for arg in args)]) == 1
    assert re.search(message, capsys.readouterr().err)
