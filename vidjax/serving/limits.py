"""Limits of a server: what one request, and all of them together, may take."""

import os
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Limits:
    """Limits of a server.

    Attributes:
      max_bytes: most bytes of an upload; more is answered with 413.
      seconds: most time from a request's arrival to its answer; 504 then, or 408 while it is still arriving.
      queue: most requests at a time; further ones are answered with 429.
      decode_seconds: most time for opening a file, and for reading its frames.
      decode_gib: most memory for decoding a file, GiB.
      max_pixels: most pixels decoded of a file: width × height × frames.
      windows: most sliding windows of a file of which segments are asked, or most views around the boxes that are asked
        about; more is answered with 422.
      window_bytes: most memory of these, which may make them fewer.
      threads: files decoded at a time, each in a process of its own. More than CPUs, so that a few files that take all
        the time they may do not hold up the others.
      max_batch: most views that go through the network at a time.
      wait: time for which a batch that is not full waits for more views, seconds.
      drain: time that requests get to end when the server is told to, seconds.
    """

    max_bytes: int = 64 << 20
    seconds: float = 30.0
    queue: int = 128
    decode_seconds: float = 10.0
    decode_gib: float = 1.0
    max_pixels: int = 1 << 31
    windows: int = 512
    window_bytes: int = 256 << 20
    threads: int = field(default_factory=lambda: max(4, 2 * (os.cpu_count() or 1)))
    max_batch: int = 8
    wait: float = 0.005
    drain: float = 30.0

    @property
    def buckets(self) -> tuple[int, ...]:
        """Sizes of batches that networks are compiled for: powers of two up to `max_batch`, and that."""
        powers = {1 << n for n in range(self.max_batch.bit_length())}
        return tuple(sorted({size for size in powers if size < self.max_batch} | {self.max_batch}))
