"""Files of flow: those of the benchmarks' own code, there and back, and every way in which one can be damaged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.golden import FOLDER
from vidjax.errors import UserError
from vidjax.video.flow_files import read_flow, write_flow

with np.load(FOLDER / "flow" / "metrics_and_files.npz") as stored:
    GOLDEN = dict(stored)


def test_files_of_the_benchmarks(tmp_path):
    flo, png = tmp_path / "a.flo", tmp_path / "a.PNG"
    flo.write_bytes(GOLDEN["flo"].tobytes())
    png.write_bytes(GOLDEN["kitti_png"].tobytes())
    flow, known = read_flow(flo)
    np.testing.assert_array_equal(flow, GOLDEN["gt"])
    assert known.all() and flow.dtype == np.float32
    flow, known = read_flow(png)
    np.testing.assert_array_equal(known, GOLDEN["valid"])
    np.testing.assert_array_equal(flow[known], GOLDEN["kitti_flow"][known])
    write_flow(tmp_path / "b.flo", GOLDEN["gt"])
    assert (tmp_path / "b.flo").read_bytes() == GOLDEN["flo"].tobytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.PNG", "a.flo", "b.flo"]


fields = arrays(
    np.float32, st.tuples(st.integers(1, 4), st.integers(1, 5), st.just(2)), elements=st.floats(-500, 500, width=32)
)


@settings(max_examples=25, deadline=None)
@given(flow=fields, data=st.data())
def test_there_and_back(flow, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flow")
    known = data.draw(arrays(bool, flow.shape[:2]))
    for ending, step in ((".flo", 0), (".png", 1 / 128), (".pfm", 0)):
        seen = known if ending != ".pfm" else np.ones_like(known)
        write_flow(folder / f"a{ending}", flow, seen)
        back, where = read_flow(folder / f"a{ending}")
        np.testing.assert_array_equal(where, seen)
        np.testing.assert_allclose(back, np.where(seen[..., None], flow, 0), rtol=0, atol=step)


def test_rows_of_pfm_and_both_byte_orders(tmp_path):
    flow = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    rows = np.concatenate([flow, np.full((2, 3, 1), 7, np.float32)], axis=2)[::-1]
    for scale, order in ((-1, "<f4"), (1, ">f4")):
        path = tmp_path / "a.pfm"
        path.write_bytes(f"PF\n3 2\n{scale}\n".encode() + rows.astype(order).tobytes())
        np.testing.assert_array_equal(read_flow(path)[0], flow)


def test_motion_out_of_range_of_a_png_is_clipped(tmp_path):
    write_flow(tmp_path / "a.png", np.array([[[600.0, -600.0]]]))
    np.testing.assert_allclose(read_flow(tmp_path / "a.png")[0][0, 0], [512 - 1 / 64, -512])


@pytest.mark.parametrize(("name", "content", "message"), [
    ("a.txt", b"", "read from .flo, .png, .pfm"),
    ("a.flo", None, "No such file"),
    ("a.flo", b"", "no .flo file"),
    ("a.flo", b"RIFF" + bytes(20), "begins with b'RIFF'"),
    ("a.flo", b"PIEH" + bytes(8), "size of 0×0"),
    ("a.flo", b"PIEH" + np.array([2, 1], "<i4").tobytes() + bytes(8), "8 bytes after its head; 2×1 pixels have 16"),
    ("a.png", b"", "no picture; KITTI's"),
    ("a.png", b"\x89PNG", "no picture"),
    ("a.pfm", b"PF\n3", "no .pfm file"),
    ("a.pfm", b"Pf\n1 1\n-1\n" + bytes(4), "kind b'Pf'"),
    ("a.pfm", b"PF\n1 1\n-1\n" + bytes(4), "4 bytes after its head"),
])  # fmt: skip
def test_damaged_files(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_flow(tmp_path / name)
    assert str(error.value).startswith(str(tmp_path / name))


def test_pictures_that_are_no_flow(tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(UserError, match=r"a picture of uint8 \(2, 3, 3\); KITTI's flow"):
        read_flow(tmp_path / "a.png")


def test_what_cannot_be_written(tmp_path):
    flow = np.zeros((2, 3, 2), np.float32)
    for path, field, known, message in (
        ("a.jpg", flow, None, "written as .flo, .png, .pfm"),
        ("a.flo", flow[..., :1], None, r"shape \(2, 3, 1\); expected \(H, W, 2\)"),
        ("a.flo", flow, np.ones((3, 2)), r"known of shape \(3, 2\)"),
        ("a.flo", flow + np.nan, None, "not finite"),
    ):
        with pytest.raises(UserError, match=message):
            write_flow(tmp_path / path, field, known)
    assert not list(tmp_path.iterdir())
