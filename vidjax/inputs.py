"""What enters a network, stream by stream: sizes, rates and units. Data workers import this, so it needs no JAX."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from vidjax.errors import UserError
from vidjax.wording import ordinal, things


@dataclass(frozen=True)
class Field:
    """One array of a batch, as it is for one view of one video.

    Attributes:
      shape: without batch and views.
      dtype: NumPy's name of the type.
      ragged: whether the first axis is only the most that there can be; what is missing is `fill`.
      fill: of what is missing.
      below: integers lie below this, 0 being the least; 0: anywhere.
    """

    shape: tuple[int, ...]
    dtype: str
    ragged: bool = False
    fill: float = 0.0
    below: int = 0


@dataclass(frozen=True)
class VideoInput:
    """A clip of frames.

    Attributes:
      num_frames: T.
      stride: τ, source frames between two of a clip.
      fps: frames per second at which videos of any rate are sampled; takes the place of `stride`. None: by `stride`.
      size: height and width of the crop, pixels.
      resize: before the crop, (short side,) or (height, width), pixels.
      mean: per channel, subtracted from values in 0…1.
      std: per channel, divided by.
      content: what is read: "rgb".
      enters: what the network is given: "frames", "differences" (each frame less the one before; the first is 0) or
        "both", side by side in the channels.
    """

    num_frames: int
    stride: int = 1
    fps: float | None = None
    size: int = 224
    resize: tuple[int, ...] = (256,)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    content: str = "rgb"
    enters: str = "frames"

    kind: ClassVar[str] = "video"

    @property
    def read_channels(self) -> int:
        """Channels of what is read and normalised."""
        return len(self.mean)

    @property
    def channels(self) -> int:
        """C, channels of what enters the network."""
        return self.read_channels * (2 if self.enters == "both" else 1)

    @property
    def target(self) -> int | tuple[int, int]:
        """What frames are resized to before they are cropped: the short side, or (height, width); pixels."""
        return self.resize[0] if len(self.resize) == 1 else (self.resize[0], self.resize[1])

    @property
    def field(self) -> Field:
        """One view of a batch."""
        return Field((self.num_frames, self.size, self.size, self.read_channels), "uint8", below=256)

    @property
    def brief(self) -> str:
        """Such as 16×4, 224²: 16 frames, every 4th, 224 pixels high and wide."""
        step = f" at {self.fps:g} fps" if self.fps else f"×{self.stride}"
        return f"{self.num_frames}{step}, {self.size}²"

    @property
    def preparation(self) -> str:
        """How pixels are prepared, in words."""
        return f"resize {'×'.join(map(str, self.resize))}, mean {self.mean}, std {self.std}"

    @property
    def facts(self) -> dict[str, int]:
        """What an evaluation says of its clips."""
        return {"num_frames": self.num_frames, "size": self.size}

    @property
    def phrase(self) -> str:
        """A clip, in words."""
        every = f"every {ordinal(self.stride)} frame" if self.stride > 1 else "every frame"
        rate = f"{self.fps:g} frames/s" if self.fps else every
        return f"clips of {things(self.num_frames, 'frame')} ({rate}) at {self.size}²"

    @property
    def shape(self) -> tuple[int, ...]:
        """What the network is given of one view: (T, H, W, C)."""
        return (self.num_frames, self.size, self.size, self.channels)


@dataclass(frozen=True)
class AudioInput:
    """Sound, as a log-mel spectrogram.

    Attributes:
      rate: samples per second.
      mels: bands of the mel scale.
      window: seconds that a spectrum is taken from.
      hop: seconds from one spectrum to the next.
      seconds: length of the sound around a clip.
    """

    rate: int = 16_000
    mels: int = 128
    window: float = 0.025
    hop: float = 0.010
    seconds: float = 2.0

    kind: ClassVar[str] = "audio"

    @property
    def field(self) -> Field:
        """One view of a batch: samples."""
        return Field((round(self.rate * self.seconds),), "int16")

    @property
    def brief(self) -> str:
        """A clip, in few characters."""
        return f"{self.seconds:g} s, {self.mels} bands"

    @property
    def preparation(self) -> str:
        """Nothing is done to it before it enters."""
        return ""

    @property
    def facts(self) -> dict[str, Any]:
        """What an evaluation says of its clips."""
        return {"seconds": self.seconds, "mels": self.mels}

    @property
    def phrase(self) -> str:
        """A clip, in words."""
        return f"{self.seconds:g} s of sound in {self.mels} bands"

    @property
    def shape(self) -> tuple[int, ...]:
        """What the network is given of one view: (spectra, bands)."""
        return (round(self.seconds / self.hop), self.mels)


@dataclass(frozen=True)
class TextInput:
    """Words, as numbers of tokens.

    Attributes:
      length: tokens, the rest being padding.
      tokenizer: which one, by its name or path.
      words: how many different tokens it has.
    """

    length: int
    tokenizer: str
    words: int

    kind: ClassVar[str] = "text"

    @property
    def field(self) -> Field:
        """One view of a batch: numbers of tokens, 0 being padding."""
        return Field((self.length,), "int32", below=self.words)

    @property
    def brief(self) -> str:
        """A clip, in few characters."""
        return f"{self.length} tokens"

    @property
    def preparation(self) -> str:
        """Nothing is done to it before it enters."""
        return ""

    @property
    def facts(self) -> dict[str, Any]:
        """What an evaluation says of its clips."""
        return {"length": self.length}

    @property
    def phrase(self) -> str:
        """A clip, in words."""
        return f"{things(self.length, 'token')} of text"

    @property
    def shape(self) -> tuple[int, ...]:
        """What the network is given of one view: (L,)."""
        return (self.length,)


@dataclass(frozen=True)
class FeatureInput:
    """Vectors that another network made of a video beforehand, a `.npy` file of shape (N, D) for each.

    Attributes:
      steps: vectors of a clip, spread evenly over those of the file.
      width: D.
    """

    steps: int
    width: int

    kind: ClassVar[str] = "features"

    @property
    def field(self) -> Field:
        """One view of a batch."""
        return Field((self.steps, self.width), "float32")

    @property
    def brief(self) -> str:
        """A clip, in few characters."""
        return f"{self.steps}×{self.width}"

    @property
    def preparation(self) -> str:
        """Nothing is done to it before it enters."""
        return ""

    @property
    def facts(self) -> dict[str, Any]:
        """What an evaluation says of its clips."""
        return {"steps": self.steps, "width": self.width}

    @property
    def phrase(self) -> str:
        """A clip, in words."""
        return f"clips of {things(self.steps, 'vector')} of {self.width} features"

    @property
    def shape(self) -> tuple[int, ...]:
        """What the network is given of one view: (steps, D)."""
        return (self.steps, self.width)


Input = VideoInput | AudioInput | TextInput | FeatureInput
KINDS: dict[str, type[Input]] = {each.kind: each for each in (VideoInput, AudioInput, TextInput, FeatureInput)}


def to_dict(inputs: Mapping[str, Input]) -> dict[str, Any]:
    """Inputs by name, ready for JSON."""
    return {name: {"kind": value.kind} | dataclasses.asdict(value) for name, value in inputs.items()}


def from_dict(values: Mapping[str, Any]) -> dict[str, Input]:
    """Inputs by name from what `to_dict` made.

    Raises:
      UserError: for a kind of input that this version does not know.
    """
    made: dict[str, Input] = {}
    for name, value in values.items():
        settings: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in value.items()}
        kind = settings.pop("kind")
        if kind not in KINDS:
            raise UserError(f"input {name!r} is of the kind {kind!r}; this version of vidjax knows {', '.join(KINDS)}")
        made[name] = KINDS[kind](**settings)
    return made
