"""Estimate of the host cores and bandwidth needed to read a training's clips, by storage format."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Storage:
    """A storage format of videos, measured on one machine with Kinetics clips of 340 × 256 pixels.

    Attributes:
      title: name for display.
      clips: clips/s of the whole input pipeline per core, relative to mp4 files.
      frame_bytes: bytes on disk per frame.
    """

    title: str
    clips: float
    frame_bytes: float


# See "Storage" in tests/benchmarks/README.md. Prepared mp4 files cost the same as plain ones.
STORAGES = {
    "mp4": Storage("mp4 files", 1.0, 2.4e3),
    "jpeg": Storage("JPEG ArrayRecord", 3.3, 13.6e3),
}
VIDEO_FRAMES = 300  # frames of a video, which is read whole for its clips: 10 s as in Kinetics
NOTE = (
    "host cores and MB/s: estimates from figures measured on one machine. A core makes "
    f"{STORAGES['jpeg'].clips:g} times as many clips of JPEG frames in ArrayRecord (`vidjax prepare --jpeg`) as of mp4 "
    f"files or these in ArrayRecord. Videos have {VIDEO_FRAMES} frames of "
    + " or ".join(f"{s.frame_bytes / 1e3:g} kB ({s.title})" for s in STORAGES.values())
    + " and are read whole, again in each epoch: of mp4 files on a disk often less"
)


def storage(clips_per_s: float, clips_per_core: float, views: float, hosts: int) -> dict[str, dict[str, Any]]:
    """Load on the hosts that feed a training, by the names of `STORAGES`, ready for JSON.

    Args:
      clips_per_s: clips/s of the training, on all hosts together.
      clips_per_core: clips/s that a core decodes from mp4 files.
      views: clips taken from a video each time it is read.
      hosts: number of hosts, which share the work evenly.

    Returns:
      For each name: "clips_per_core" (clips/s), "host_cores" (of all hosts together), "bytes_per_s_per_host" (read from
      disk or network).
    """
    videos = clips_per_s / views / hosts
    return {
        name: {
            "clips_per_core": clips_per_core * way.clips,
            "host_cores": clips_per_s / (clips_per_core * way.clips),
            "bytes_per_s_per_host": videos * VIDEO_FRAMES * way.frame_bytes,
        }
        for name, way in STORAGES.items()
    }


def storage_rows(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """Table rows of a plan's figures: host cores, and the rate at which each host reads."""
    corrected = figures.get("corrected", {}).get("storage", {})
    rows = []
    for name, way in STORAGES.items():
        found = figures["storage"][name]
        cores, rate = f"{found['host_cores']:.0f}", f"{found['bytes_per_s_per_host'] / 1e6:.0f}"
        if name in corrected:
            cores += f" (corrected {corrected[name]['host_cores']:.0f})"
            rate += f" ({corrected[name]['bytes_per_s_per_host'] / 1e6:.0f})"
        text = f"{cores}, at {found['clips_per_core']:.3g} clips/s per core; {rate} MB/s"
        rows.append(
            (f"host cores: {way.title}", text + (f" per host of {figures['hosts']}" if figures["hosts"] > 1 else ""))
        )
    return rows
