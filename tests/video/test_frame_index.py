"""Tables of MP4 files give the index that reading them through gives, or none; wrong ones are found out."""

import io
import struct

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.video.test_reader import CLIPS, ODD, OPEN_GOP, check_exact, plain, write
from vidjax.video import VideoError, VideoReader
from vidjax.video import decoder as decoder_module
from vidjax.video.facts import tells_orientation
from vidjax.video.frame_index import index_by_reading, index_by_tables
from vidjax.video.mp4 import read_tables

TABLES = [n for n in (*CLIPS, *ODD) if n.endswith((".mp4", ".mov")) and n not in ("bitmap.mp4", "testsrc2_mpeg4.mp4")]


def both(path, number=0):
    """The index by tables, and by reading."""
    with av.open(str(path)) as container:
        stream = container.streams.video[number]
        tables = index_by_tables(stream, lambda: path.open("rb"), path.stat().st_size)
        packets = (p for p in container.demux(stream) if p.size)
        return tables, index_by_reading(str(path), packets, stream.codec_context)


def check_same(tables, reading):
    for name in ("pts", "dts", "keys", "shown"):
        assert getattr(tables, name) == getattr(reading, name), name
    assert tables.opening is None and reading.opening is not None


@pytest.mark.parametrize("name", TABLES)
def test_real_files(shared, name):
    check_same(*both(shared / "data" / ("clips" if name in CLIPS else "odd") / name))


def test_the_track_is_found_by_its_number(shared):
    path = shared / "data" / "odd" / "nasa_13013.mp4"
    for number in (0, 1):
        check_same(*both(path, number))


@pytest.mark.parametrize("options", [{"movflags": "+faststart"}, {"movflags": "+negative_cts_offsets"}, {}])
@pytest.mark.parametrize("bframes", [0, 3])
def test_made_files(tmp_path, options, bframes):
    path = remux(write(tmp_path / "a.mp4", np.cumsum(1 + np.arange(40) % 3), bframes=bframes), options)
    check_same(*both(path))


def remux(path, options):
    """The same packets in another kind of MP4."""
    other = path.with_stem("other")
    with av.open(str(path)) as source, av.open(str(other), "w", options=options) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    return other


def test_files_that_leave_doubt_are_read(tmp_path, monkeypatch):
    whole = write(tmp_path / "a.mp4", range(40))
    torn = tmp_path / "torn.mp4"
    data = remux(whole, {"movflags": "+faststart"}).read_bytes()
    torn.write_bytes(data[:-500])
    fragments = remux(whole, {"movflags": "+frag_keyframe+empty_moov"})
    for path in (
        torn,
        fragments,
        write(tmp_path / "a.mkv", range(40)),
        write(tmp_path / "b.mp4", [0], codec="mpeg4", options={}),
    ):
        assert both(path)[0] is None, path
        with VideoReader(path) as reader:
            assert not reader._engine._decoder._by_tables
            check_exact(reader, plain(path)[: len(reader)], picks=1)


def test_reading_through_is_spared(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", range(40), options=OPEN_GOP)
    monkeypatch.setattr(decoder_module, "index_by_reading", None)
    with VideoReader(path) as reader:
        check_exact(reader, plain(path))


def edit(path, box, change):
    """Changes the content of a box in place."""
    data = bytearray(path.read_bytes())
    at = data.index(box) + 4
    size = struct.unpack_from(">I", data, at - 8)[0] - 8
    content = data[at : at + size]
    change(content)
    data[at : at + size] = content
    path.write_bytes(data)


def test_wrong_tables_are_found_out(tmp_path, monkeypatch):
    """Were the tables misread, packets would tell, at the first or later on, and the file be read through."""
    path = write(tmp_path / "a.mp4", range(40))
    truth = plain(path)
    for place in (0, 7, 39):

        def misread(file, track, count, place=place):
            tables = read_tables(file, track, count)
            tables.offsets[place] += 100
            return tables

        monkeypatch.setattr("vidjax.video.frame_index.read_tables", misread)
        with VideoReader(path) as reader:
            assert reader._engine._decoder._by_tables == (place > 0)
            np.testing.assert_array_equal(reader.read(range(40)), np.stack(truth))
            assert not reader._engine._decoder._by_tables


def test_tables_that_count_wrong(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", range(40))
    with VideoReader(path) as reader:
        pretended = reader._engine._decoder
        pretended._pts[20] += 1
        monkeypatch.setattr(decoder_module, "index_by_reading", lambda *a: drop(index_by_reading(*a)))
        with pytest.raises(VideoError, match=r"a\.mp4: has 30 frames of 64×48, 40 of 64×48 by its tables; encode"):
            reader.read([22])


def drop(index):
    index.shown[30:] = [False] * 10
    return index


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_pictures_that_say_how_they_are_turned(tmp_path, codec):
    """Tables are upright, pictures are not: they are looked at before anything is believed."""
    options = {"x265-params": "log-level=error"} if codec == "libx265" else {"preset": "veryfast"}
    path, turned = write(tmp_path / "a.mp4", range(12), codec=codec, options=options), tmp_path / "turned.mp4"
    name = "h264" if codec == "libx264" else "hevc"
    with av.open(str(path)) as source, av.open(str(turned), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        extradata = source.streams.video[0].codec_context.extradata
        for packet in source.demux(video=0):
            if packet.size:
                if packet.is_keyframe:
                    unit = ORIENTATION[name]
                    turned_packet = av.Packet(len(unit).to_bytes(4) + unit + bytes(packet))
                    for field in ("pts", "dts", "time_base", "duration", "is_keyframe"):
                        setattr(turned_packet, field, getattr(packet, field))
                    packet = turned_packet
                packet.stream = stream
                target.mux(packet)
    assert both(turned)[0].upright
    for file, says in ((path, False), (turned, True)):
        with av.open(str(file)) as container:
            packet = next(container.demux(video=0))
            assert tells_orientation(bytes(packet), name, extradata) == says
    with VideoReader(path) as reader, VideoReader(turned) as other:
        assert (reader.height, reader.width) == (48, 64) and not reader._engine._decoder._sure
        assert (other.height, other.width) == (64, 48)
        check_exact(other, [np.rot90(frame) for frame in plain(path)], picks=1)  # all as the first


# Supplemental information of the kind "display orientation": not cancelled, no flips, a quarter turn, lasting.
ORIENTATION = {
    "h264": bytes([6, 47, 3, 0b00001000, 0, 0b00001001, 0x80]),
    "hevc": bytes([39 << 1, 1, 47, 3, 0b00001000, 0, 0b00011000, 0x80]),
}


def test_headers_that_lie_about_the_size(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", range(40))
    prepare = decoder_module.Decoder._prepare

    def lie(self, index):
        prepare(self, index)
        if not self._sure:
            self.width += 2

    monkeypatch.setattr(decoder_module.Decoder, "_prepare", lie)
    with VideoReader(path) as reader, pytest.raises(VideoError, match="has 40 frames of 64×48, 40 of 66×48 by its ta"):
        reader.read([20])


@given(data=st.binary(max_size=60), codec=st.sampled_from(["h264", "hevc"]), width=st.integers(0, 3))
def test_any_packet_can_be_looked_at(data, codec, width):
    extradata = b"\x01" + bytes(3) + bytes([width]) + bytes(16) + bytes([width]) + bytes(8)
    assert tells_orientation(data, codec, extradata) in (True, False)
    assert tells_orientation(data, "av1", extradata) and tells_orientation(data, codec, b"")


def test_edited_codings_and_counts_are_not_taken_on(tmp_path):
    path = write(tmp_path / "a.mp4", range(40))
    with av.open(str(path)) as container:
        track = container.streams.video[0].id

    def offsets(count=40, number=track):
        with open(path, "rb") as file:
            tables = read_tables(file, number, count)
            return None if tables is None else tables.offsets

    original = path.read_bytes()
    assert offsets().shape == (40,) and offsets().min() >= 0
    assert offsets(count=39) is None and offsets(number=track + 5) is None
    for box, change in {
        b"stsd": lambda c: c.__setitem__(slice(4, 8), struct.pack(">I", 2)),
        b"elst": lambda c: c.__setitem__(slice(4, 8), struct.pack(">I", 3)),
        b"ctts": lambda c: c.__setitem__(slice(8, 12), struct.pack(">i", -1)),
        b"stsz": lambda c: c.__setitem__(slice(8, 12), struct.pack(">I", 41)),
        b"moov": lambda c: c.__setitem__(slice(4, 8), b"cmov"),
        b"mdia": lambda c: c.__setitem__(slice(0, 4), b"\x7f\xff\xff\xff"),
    }.items():
        edit(path, box, change)
        assert offsets() is None, box
        path.write_bytes(original)
    edit(path, b"ctts", lambda c: c.__setitem__(slice(12, 16), struct.pack(">i", -700)))
    assert offsets().min() == 0 and offsets()[0] == 0  # negative offsets delay the others


@given(data=st.binary(max_size=200), at=st.integers(0, 2000))
@settings(deadline=None, max_examples=200)
def test_damaged_tables_never_crash(small, data, at):
    content = bytearray(small)
    at %= len(content)
    content[at : at + len(data)] = data
    found = read_tables(io.BytesIO(content), 1, 5)
    assert found is None or found.offsets.shape == (5,)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The tables of a file of five frames."""
    data = write(tmp_path_factory.mktemp("small") / "a.mp4", range(5)).read_bytes()
    return data[data.index(b"moov") - 4 :]
