"""Files that a stranger might send: they name other files, or claim what is not there."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.videos import numbered_frames, write_video

# Text that names the files `other.mp4`, `other.ts`, `other.avi` and `0.png` of {folder}.
PLAYLISTS = {
    "concat": "ffconcat version 1.0\nfile other.mp4\n",
    "concat, absolute": "ffconcat version 1.0\nfile 'file:{folder}/other.mp4'\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{folder}/other.ts\n#EXT-X-ENDLIST\n",
    "hls, data": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\ndata:video/mp2t;base64,R0AREA==\n#EXT-X-ENDLIST\n",
    "dash": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" mediaPresentationDuration="PT1S"><Period>'
    '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{folder}/other.mp4</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "avisynth": 'AviSource("{folder}/other.avi")\n',
    "edl": "# mpv EDL v0\n{folder}/other.mp4,0,1\n",
    "imf": '<AssetMap xmlns="http://www.smpte-ra.org/schemas/429-9/2007/AM"><AssetList><Asset><Id>urn:uuid:1</Id>'
    "<ChunkList><Chunk><Path>{folder}/other.mp4</Path></Chunk></ChunkList></Asset></AssetList></AssetMap>",
    "smil": '<smil><body><video src="{folder}/other.mp4"/></body></smil>',
    "svg": '<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink">'
    '<image x:href="file://{folder}/0.png"/></svg>',
    "tedcaptions": '{{"captions": [{{"content": "file:{folder}/other.mp4", "startTime": 0}}]}}',
}  # fmt: skip


def write_others(folder: Path) -> Path:
    """The files that hostile ones would like to open."""
    for suffix in ("mp4", "ts", "avi"):
        write_video(folder / f"other.{suffix}", numbered_frames(4))
    (folder / "0.png").write_bytes(_png(8, 8))
    return folder


def _boxed(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _rewritten(data: bytes, change: Callable[[bytes, bytes], bytes | None]) -> bytes:
    """An MP4 file with the content of some boxes replaced; `moov` must be behind the pictures."""
    out, at = b"", 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        content = data[at + 8 : at + size]
        new = change(kind, content)
        if new is None and kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"stbl"):
            new = _rewritten(content, change)
        out += _boxed(kind, content if new is None else new)
        at += size
    return out


def external_reference(video: bytes, target: Path) -> bytes:
    """The MP4 file `video` as QuickTime may have it: its pictures lie in another file, named by an absolute path."""
    name = str(target).encode()
    alias = bytearray(150)
    struct.pack_into(">HH", alias, 128, 1, 1)  # of how many folders up and down the two files share one
    alias += struct.pack(">HH", 2, len(name)) + name + b"\0" * (len(name) % 2) + struct.pack(">HH", 0xFFFF, 0)
    # Version and flags (the pictures are not in this file), then the alias.
    entry = _boxed(b"alis", b"\0\0\0\0" + bytes(alias))
    return _rewritten(video, lambda kind, _: b"\0\0\0\0\0\0\0\1" + entry if kind == b"dref" else None)


def many_frames(video: bytes, count: int) -> bytes:
    """The MP4 file `video`, whose tables claim `count` frames of one byte each."""

    def change(kind: bytes, content: bytes) -> bytes | None:
        if kind == b"stsz":
            return struct.pack(">III", 0, 1, count)
        if kind == b"stts":
            return struct.pack(">IIII", 0, 1, count, 512)
        if kind == b"stsc":
            return struct.pack(">IIIII", 0, 1, 1, count, 1)
        return None

    return _rewritten(video, change)


def _png(width: int, height: int, *, filled: bool = True) -> bytes:
    """A black picture, a thousandth of its pixels in bytes, or only its header and first row."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(1 + width)) for _ in range(height if filled else 1)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def huge_pictures(width: int, height: int, *, filled: bool) -> bytes:
    """A small QuickTime file of two pictures of any size, or of two that claim it."""
    file, picture, time_base = io.BytesIO(), _png(width, height, filled=filled), Fraction(1, 10)
    with av.open(file, "w", format="mov") as container:
        stream = container.add_stream("png", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "gray"
        for time in range(2):
            packet = av.Packet(picture)
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, time, time, True
            packet.time_base = time_base
            container.mux(packet)
    return file.getvalue().replace(struct.pack(">HH", 48, 32), struct.pack(">HH", width, height))


def with_attachment(path: Path, name: str, content: bytes) -> Path:
    """A Matroska video with a file in it."""
    with av.open(str(path), "w") as container:
        container.add_attachment(name, "video/mp4", content)
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast", "threads": "1"})
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for frame in numbered_frames(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def damaged(video: bytes, seed: int) -> bytes:
    """A file cut off, or with bytes replaced, or both."""
    rng = np.random.default_rng(seed)
    data = bytearray(video)
    for place in rng.integers(0, len(data), int(rng.integers(0, 200))):
        data[place] = rng.integers(256)
    return bytes(data[: int(rng.integers(16, len(data) + 1))])


def uploads(others: Path, count: int) -> Iterator[tuple[str, bytes]]:
    """Hostile and broken files, each kind in turn; they name the files of the folder `others`, see `write_others`."""
    video = (others / "other.mp4").read_bytes()
    draw = np.random.default_rng(0)
    kinds: dict[str, Callable[[int], bytes]] = {
        f"playlist, {name}": lambda _, text=text: text.format(folder=others).encode()
        for name, text in PLAYLISTS.items()
    }
    pictures = {side: huge_pictures(side, side, filled=filled) for side, filled in ((16384, False), (6000, True))}
    kinds |= {
        "nothing": lambda _: b"",
        "noise": lambda number: draw.bytes(1 + 997 * (number % 50)),
        "text": lambda _: b"no video " * 100,
        "picture": lambda _: (others / "0.png").read_bytes(),
        "external reference": lambda _: external_reference(video, others / "other.mp4"),
        "10^7 frames": lambda _: many_frames(video, 10**7),
        "2^32 frames": lambda _: many_frames(video, 2**32 - 1),
        "claimed pixels": lambda _: pictures[16384],
        "large pictures": lambda _: pictures[6000],
        "damaged": lambda number: damaged(video, number),
        "damaged stream": lambda number: damaged((others / "other.ts").read_bytes(), number),
        "cut": lambda number: video[: 16 + number * 97 % (len(video) - 32)],
    }
    for number in range(count):
        name = list(kinds)[number % len(kinds)]
        yield name, kinds[name](number // len(kinds))
