"""Prepared data sets with optical flow: the same fields as from files, of another method, and without any."""

import json
import logging

import numpy as np
import pytest

from tests.videos import write_halves
from vidjax.__main__ import main
from vidjax.config import DataConfig, Spec
from vidjax.config.spec import resolve_spec
from vidjax.data.listing.load import load_sets
from vidjax.data.prepared.encode import Encoding
from vidjax.data.prepared.read import read_info
from vidjax.data.reading import flow_clips
from vidjax.data.reading.clips import ClipReader
from vidjax.video import VideoError, flow

SPEC = Spec.of_video("toy", num_frames=2, stride=2, size=24, resize=(32,), mean=(0.5,) * 3, std=(0.2,) * 3)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_halves(tmp_path_factory.mktemp("files"), count=12)


@pytest.fixture(scope="module", params=["file", "jpeg"])
def stored(request, files, tmp_path_factory):
    """A data set with flow by Farnebäck beside the videos."""
    out = tmp_path_factory.mktemp("prepared") / request.param
    jpeg = ["--jpeg", "--quality", "95"] if request.param == "jpeg" else []
    assert main(["prepare", str(files), str(out), "--flow", "farneback", "--workers", "1", *jpeg]) == 0
    return out


def clips(source, input, **settings):
    """Evaluation clips of the first video of a source."""
    config = DataConfig(train=str(source), **settings)
    videos, _ = load_sets(config)
    reader = ClipReader(resolve_spec(SPEC, config, input), config)
    return reader.evaluate(videos.records[0], 2, 1)[0]


@pytest.mark.slow
def test_stored_fields_are_those_of_the_files(stored, files, monkeypatch):
    assert read_info(next(stored.glob("1.*")))["encoding"]["flow"] == "farneback"
    expected = clips(files, "rgb+flow", flow="farneback")
    monkeypatch.setattr(flow, "estimate", None)  # nothing is computed
    for method in ("farneback", "folder"):
        given = clips(stored, "rgb+flow", flow=method)
        assert given.shape == expected.shape == (2, 2, 24, 24, 5)
        assert np.abs(given[..., 3:].astype(int) - expected[..., 3:]).mean() < 1.5 < expected[..., 3:].std()
        np.testing.assert_array_equal(clips(stored, "flow", flow=method), given[..., 3:])


@pytest.mark.slow
def test_another_method_is_computed_and_said(stored, caplog, monkeypatch):
    monkeypatch.setattr(flow_clips, "_told", set())
    with caplog.at_level(logging.WARNING, "vidjax"):
        given = clips(stored, "flow", flow="dis_fast")
    assert given.std() > 1 and "stored flow is of farneback, and dis_fast is computed" in caplog.text


@pytest.mark.slow
def test_a_data_set_without_flow(files, tmp_path):
    assert main(["prepare", str(files), str(tmp_path / "plain"), "--workers", "1"]) == 0
    with pytest.raises(VideoError, match="has no stored flow; prepare the data set with --flow"):
        clips(tmp_path / "plain", "flow", flow="folder")


def test_settings_of_data_sets_without_flow_are_as_before():
    assert json.dumps(Encoding(True, 24).settings()) == (
        '{"jpeg": true, "short_side": 24, "quality": 75, "folder_fps": 25.0}'
    )
    assert Encoding(flow="tvl1").settings()["flow_bound"] == 20.0
