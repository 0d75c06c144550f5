"""The libraries that read frames, each in a process of its own, so that none is in another's way.

As a program, `python tests/benchmarks/data/peers.py NAME`, this file is one of these processes: it answers requests
`{"path", "frames"}`, one JSON a line, by `{"seconds", "digest"}`: processor time and a checksum of the pixels.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

Read = Callable[[str, list[int]], Any]  # path, frame numbers → uint8 (T, H, W, 3)


def vidjax() -> tuple[str, Read]:
    """vidjax's reader, decoding in a thread; see isolated() for the other way."""
    from vidjax.video import VideoReader

    def read(path, frames):
        with VideoReader(path) as reader:
            return reader.read(frames)

    return "vidjax", read


def isolated() -> tuple[str, Read]:
    """vidjax's reader, decoding in a process of its own, as training does."""
    from vidjax.video import VideoReader

    def read(path, frames):
        with VideoReader(path, isolate=True) as reader:
            return reader.read(frames)

    return "vidjax, isolated", read


def pyav() -> tuple[str, Read]:
    """PyAV at its best without skipping pictures: knows rate and keyframes, seeks only where that saves decoding."""
    import av
    import numpy as np

    def read(path, frames):
        with av.open(path) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            tick = 1 / (stream.average_rate * stream.time_base)
            keys = [entry.timestamp for entry in stream.index_entries if entry.is_keyframe]
            out, position, decoded = [], None, None
            for pts in (round(i * tick) for i in frames):
                key = max(k for k in [keys[0], *keys] if k <= max(pts, keys[0]))
                if position is None or key > position:
                    container.seek(pts, stream=stream)
                    decoded = container.decode(stream)
                frame = next(f for f in decoded if f.pts == pts)
                position = pts
                out.append(frame.to_ndarray(format="rgb24"))
            return np.stack(out)

    return f"PyAV {av.__version__}", read


def start() -> tuple[str, Read]:
    """Sequential decoding from the first frame."""
    import av
    import numpy as np

    def read(path, frames):
        wanted, out = set(frames), []
        with av.open(path) as container:
            container.streams.video[0].codec_context.thread_count = 1
            for i, frame in enumerate(container.decode(video=0)):
                if i in wanted:
                    out.append(frame.to_ndarray(format="rgb24"))
                if i == frames[-1]:
                    break
        return np.stack(out)

    return f"PyAV {av.__version__} from the start", read


def decord() -> tuple[str, Read]:
    import decord as library

    def read(path, frames):
        return library.VideoReader(path, num_threads=1).get_batch(frames).asnumpy()

    return f"decord {library.__version__}", read


def torchcodec() -> tuple[str, Read]:
    import torch
    import torchcodec as library
    from torchcodec.decoders import VideoDecoder

    torch.set_num_threads(1)

    def read(path, frames):
        decoder = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="exact")
        return decoder.get_frames_at(frames).data.numpy()

    return f"torchcodec {library.__version__}", read


PEERS = {f.__name__: f for f in (vidjax, isolated, pyav, start, decord, torchcodec)}


class Peer:
    """One library in its process.

    Args:
      name: in `PEERS`.
      python: the interpreter that has it.
      libraries: folder with the FFmpeg that torchcodec is to use.

    Raises:
      RuntimeError: saying why, if it cannot be used.
    """

    def __init__(self, name: str, python: str = sys.executable, libraries: str = ""):
        root = str(Path(__file__).parents[3])
        paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
        environment = os.environ | {"PYTHONPATH": paths}
        if name == "torchcodec" and libraries:
            environment["LD_LIBRARY_PATH"] = os.pathsep.join(
                filter(None, [libraries, os.environ.get("LD_LIBRARY_PATH")])
            )
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the process)
        command = [python, str(Path(__file__)), name]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=environment
        )
        self.title = self._answer().get("title", name)

    def read(self, path: Path, frames: list[int]) -> tuple[float, int]:
        """Processor seconds to open a file and read frames, and a checksum of them."""
        self._process.stdin.write(json.dumps({"path": str(path), "frames": frames}) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        return answer["seconds"], answer["digest"]

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        raise RuntimeError(next((x for x in lines if "Error" in x), lines[-1] if lines else "it ended"))

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()


def open_peers(names: list[str], python: str) -> dict[str, Peer]:
    """Those of the peers that can be used; what the others lack is printed."""
    from vidjax.errors import install

    folder = tempfile.mkdtemp(prefix="ffmpeg-")
    link_ffmpeg(Path(folder))
    peers = {}
    for name in names:
        try:
            peers[name] = Peer(name, python if name in ("decord", "torchcodec") else sys.executable, folder)
        except RuntimeError as error:
            print(f"left out: {name} ({error}); {install('bench')}, or give --python of an interpreter with it")
    return peers


def link_ffmpeg(folder: Path) -> None:
    """Names under which torchcodec finds the very FFmpeg that PyAV brings, so that both run the same decoder."""
    import av

    bundled = Path(av.__file__).parents[1] / "av.libs"
    for library in bundled.glob("*.so*") if bundled.is_dir() else ():
        (folder / library.name).symlink_to(library)
        name, _, version = library.name.partition("-")
        if name.startswith(("libav", "libsw")):
            number = version.partition(".so.")[2].partition(".")[0]
            (folder / f"{name}.so.{number}").symlink_to(library)


def main(name: str) -> None:
    import numpy as np

    from tests.benchmarks.data.processor import cpu_seconds

    title, read = PEERS[name]()
    print(json.dumps({"title": title}), flush=True)
    spent = cpu_seconds if name == "isolated" else time.process_time
    for line in sys.stdin:
        request = json.loads(line)
        begin = spent()
        frames = read(request["path"], request["frames"])
        seconds = spent() - begin
        print(json.dumps({"seconds": seconds, "digest": zlib.crc32(np.ascontiguousarray(frames))}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
