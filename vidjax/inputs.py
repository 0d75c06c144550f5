"""Inputs of a network, stream by stream: sizes, rates and units. Data workers import this, so it needs no JAX."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from vidjax.errors import UserError
from vidjax.spectrograms import Spectrogram, spectrogram
from vidjax.wording import ordinal, things

CONTENTS = ("rgb", "flow", "rgb+flow")  # of a video
UNHEARD = -32768  # sample of a clip where a video has no sound


@dataclass(frozen=True)
class Field:
    """Shape and type of one array of a batch, for one view of one video.

    Attributes:
      shape: shape without the batch and view axes.
      dtype: NumPy name of the type.
      ragged: whether the length of the first axis is a maximum; shorter arrays are padded with `fill`.
      fill: padding value of ragged arrays.
      below: exclusive upper bound of integers, which start at 0; 0: unbounded.
    """

    shape: tuple[int, ...]
    dtype: str
    ragged: bool = False
    fill: float = 0.0
    below: int = 0

    def fits(self, shape: tuple[int, ...], whole: bool) -> bool:
        """Whether an array of this shape is one view of the field.

        Args:
          shape: shape without the batch and view axes.
          whole: whether a ragged axis must have its full length.
        """
        if self.ragged and not whole and shape:
            return shape[0] <= self.shape[0] and shape[1:] == self.shape[1:]
        return shape == self.shape


@dataclass(frozen=True)
class FlowFields:
    """Optical flow beside or instead of the colours of a clip, in 8 bits.

    A field has two channels, motion to the right and motion down, in pixels of the resized frame from one frame of the
    file to the next. Those of the frame t of a clip are the L fields that begin there: from frame t of the file to t+1,
    from t+1 to t+2, and so on, whatever the clip's stride. Source of the layout: arXiv 1406.2199, section 3.

    Attributes:
      method: name of the algorithm, one of `vidjax.config.choices.FLOWS`, or "folder": fields computed beforehand.
      count: L, fields per frame of the clip.
      bound: motion that becomes 255, pixels; its negative becomes 0, larger motion is clipped.
      rounding: rule of the 8-bit values: "nearest" (denseflow), or "truncated" (mmaction2), where no motion is 127.
      mean_subtracted: whether the mean of each field is subtracted first, a rough correction for moving cameras.
    """

    method: str = "dis_fast"
    count: int = 1
    bound: float = 20.0
    rounding: str = "nearest"
    mean_subtracted: bool = False

    @property
    def channels(self) -> int:
        """Number of channels, 2·L, in the order x1, y1, x2, y2 and so on."""
        return 2 * self.count

    @property
    def phrase(self) -> str:
        """Description of the fields of a frame, in words."""
        less = ", less their mean" if self.mean_subtracted else ""
        return f"{things(self.count, 'field')} of flow ({self.method}, ±{self.bound:g} pixels{less})"


@dataclass(frozen=True)
class VideoInput:
    """Clip of frames, of optical flow, or of both.

    Attributes:
      num_frames: T, frames of the clip.
      stride: τ, source frames between successive frames of the clip.
      fps: sampling rate in frames per second for videos of any rate, instead of `stride`. None: `stride` applies.
      size: height and width of the crop, pixels.
      resize: size before the crop, (short side,) or (height, width), pixels.
      mean: mean per channel, subtracted from pixel values in 0…1.
      std: standard deviation per channel, the divisor after `mean` is subtracted.
      content: kind of pixels read from the file: "rgb", "flow", or "rgb+flow": colours, then flow, in one array.
      enters: input of the network: "frames", "differences" (each frame minus the previous one; the first is 0) or
        "both", concatenated along the channels.
      flow: fields of flow; None if and only if the content is "rgb".

    Raises:
      UserError: if `flow` does not fit the content, or the numbers of means and deviations do not.
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
    flow: FlowFields | None = None

    kind: ClassVar[str] = "video"

    def __post_init__(self):
        if self.content not in CONTENTS or ("flow" in self.content) != (self.flow is not None):
            raise UserError(
                f"a video input of content {self.content!r} with {'' if self.flow else 'no '}fields of flow: content "
                f"must be one of {', '.join(CONTENTS)}, and have fields if it names flow"
            )
        if len(self.mean) != len(self.std) or (self.flow and len(self.mean) != self.colours + self.flow.channels):
            expected = f"{self.colours + self.flow.channels} each" if self.flow else "equally many"
            raise UserError(
                f"a video input of content {self.content!r} with {len(self.mean)} means and {len(self.std)} "
                f"deviations: give {expected}, one per channel"
            )

    @property
    def colours(self) -> int:
        """Number of channels that are colours; they come first."""
        return {"flow": 0, "rgb+flow": 3}.get(self.content, len(self.mean))

    @property
    def read_channels(self) -> int:
        """Channels of the pixels that are read and normalised."""
        return len(self.mean)

    @property
    def channels(self) -> int:
        """C, channels of the network's input."""
        return self.read_channels * (2 if self.enters == "both" else 1)

    @property
    def target(self) -> int | tuple[int, int]:
        """Size of frames before the crop: the short side, or (height, width); pixels."""
        return self.resize[0] if len(self.resize) == 1 else (self.resize[0], self.resize[1])

    @property
    def field(self) -> Field:
        """Shape and type of one view in a batch."""
        return Field((self.num_frames, self.size, self.size, self.read_channels), "uint8", below=256)

    @property
    def brief(self) -> str:
        """Short form, such as "16×4, 224²": 16 frames, every 4th, 224 pixels high and wide."""
        step = f" at {self.fps:g} fps" if self.fps else f"×{self.stride}"
        fields = (
            f", {'' if self.content == 'flow' else 'rgb + '}{self.flow.count} {self.flow.method}" if self.flow else ""
        )
        return f"{self.num_frames}{step}, {self.size}²{fields}"

    @property
    def preparation(self) -> str:
        """Resizing and normalisation of the pixels, in words."""
        fields = f", {self.flow.phrase}" if self.flow else ""
        return f"resize {'×'.join(map(str, self.resize))}, mean {self.mean}, std {self.std}{fields}"

    @property
    def facts(self) -> dict[str, Any]:
        """Facts about the clips that an evaluation reports."""
        fields = {"flow": self.flow.method} if self.flow else {}
        return {"num_frames": self.num_frames, "size": self.size} | fields

    @property
    def phrase(self) -> str:
        """Description of a clip, in words."""
        every = f"every {ordinal(self.stride)} frame" if self.stride > 1 else "every frame"
        rate = f"{self.fps:g} frames/s" if self.fps else every
        beside = f"{', with' if self.colours else ', as'} {self.flow.phrase}" if self.flow else ""
        return f"clips of {things(self.num_frames, 'frame')} ({rate}) at {self.size}²{beside}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one view as it enters the network: (T, H, W, C)."""
        return (self.num_frames, self.size, self.size, self.channels)


@dataclass(frozen=True)
class AudioInput:
    """Sound of a clip. In a batch it is samples, in a network a spectrogram and whether there is anything to hear.

    Attributes:
      preset: name of the spectrogram, in `vidjax.spectrograms.SPECTROGRAMS`.
      seconds: length of the sound, seconds.
      frames: T, spectra that enter the network. Missing ones are added at the end, as zeros before normalisation, and
        further ones are left out; 0: as many as the sound gives.
      place: place of the sound: "centre" (about the middle of a clip's frames) or "start" (from its first frame on).
      mean: number subtracted from the values of the spectrogram; None: the preset's.
      std: number that they are divided by afterwards; None: the preset's.
    """

    preset: str
    seconds: float
    frames: int = 0
    place: str = "centre"
    mean: float | None = None
    std: float | None = None

    kind: ClassVar[str] = "audio"

    def __post_init__(self):
        count = self.spectrogram.count(self.samples)
        if count < 1:
            raise UserError(f"seconds = {self.seconds:g}: too short for one spectrum of {self.preset!r}")
        if self.place not in ("centre", "start"):
            raise UserError(f"place = {self.place!r}: must be centre or start")

    @property
    def spectrogram(self) -> Spectrogram:
        """Settings of the spectrogram, with this input's normalisation."""
        own = {name: getattr(self, name) for name in ("mean", "std") if getattr(self, name) is not None}
        return dataclasses.replace(spectrogram(self.preset), **own)

    @property
    def rate(self) -> int:
        """Samples per second."""
        return self.spectrogram.rate

    @property
    def samples(self) -> int:
        """Number of samples."""
        return round(self.rate * self.seconds)

    @property
    def field(self) -> Field:
        """Shape and type of one view in a batch: samples from -32767 to 32767, or `UNHEARD` where there is no sound."""
        return Field((self.samples,), "int16")

    @property
    def brief(self) -> str:
        """Short form of a clip's length and size."""
        return f"{self.seconds:g} s, {self.shape[0]}×{self.shape[1]}"

    @property
    def preparation(self) -> str:
        """Rate and spectrogram, in words."""
        return f"one channel at {self.rate} Hz, spectrogram {self.preset}"

    @property
    def facts(self) -> dict[str, Any]:
        """Facts about the clips that an evaluation reports."""
        return {"seconds": self.seconds, "preset": self.preset}

    @property
    def phrase(self) -> str:
        """Description of a clip, in words."""
        return f"{self.seconds:g} s of sound ({things(self.shape[0], 'spectrum', 'spectra')} of {self.shape[1]} values)"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one view as it enters the network: (spectra, values)."""
        settings = self.spectrogram
        return (self.frames or settings.count(self.samples), settings.values)


@dataclass(frozen=True)
class TextInput:
    """Text, as token numbers.

    Attributes:
      length: tokens per text, padding included.
      tokenizer: name or path of the tokenizer.
      vocabulary: number of different tokens.
    """

    length: int
    tokenizer: str
    vocabulary: int

    kind: ClassVar[str] = "text"

    @property
    def field(self) -> Field:
        """Shape and type of one view in a batch: token numbers, where 0 is padding."""
        return Field((self.length,), "int32", below=self.vocabulary)

    @property
    def brief(self) -> str:
        """Short form of a clip's length and size."""
        return f"{self.length} tokens"

    @property
    def preparation(self) -> str:
        """Empty: this input needs no preparation."""
        return ""

    @property
    def facts(self) -> dict[str, Any]:
        """Facts about the clips that an evaluation reports."""
        return {"length": self.length}

    @property
    def phrase(self) -> str:
        """Description of a clip, in words."""
        return f"{things(self.length, 'token')} of text"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one view as it enters the network: (L,)."""
        return (self.length,)


@dataclass(frozen=True)
class FeatureInput:
    """Features that another network computed beforehand, one `.npy` file of shape (N, D) per video.

    Attributes:
      steps: vectors per clip, spaced evenly over those of the file.
      width: D, length of a vector.
    """

    steps: int
    width: int

    kind: ClassVar[str] = "features"

    @property
    def field(self) -> Field:
        """Shape and type of one view in a batch."""
        return Field((self.steps, self.width), "float32")

    @property
    def brief(self) -> str:
        """Short form of a clip's length and size."""
        return f"{self.steps}×{self.width}"

    @property
    def preparation(self) -> str:
        """Empty: this input needs no preparation."""
        return ""

    @property
    def facts(self) -> dict[str, Any]:
        """Facts about the clips that an evaluation reports."""
        return {"steps": self.steps, "width": self.width}

    @property
    def phrase(self) -> str:
        """Description of a clip, in words."""
        return f"clips of {things(self.steps, 'vector')} of {self.width} features"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one view as it enters the network: (steps, D)."""
        return (self.steps, self.width)


@dataclass(frozen=True)
class SequenceInput:
    """All features of a long video in the order of time, computed beforehand, one file per video.

    In a batch, steps after the end of the video are NaN; the network gets zeros there, and a mask as a second array.

    Attributes:
      steps: T, most steps of a clip. Longer videos are cut at random in training, and into overlapping parts in
        evaluation.
      width: D, length of a step's vector.
      resized: whether the features of every video are resized linearly to `steps`, instead of being cut or padded.
    """

    steps: int
    width: int
    resized: bool = False

    kind: ClassVar[str] = "sequence"

    @property
    def field(self) -> Field:
        """Shape and type of one view in a batch; NaN is padding."""
        return Field((self.steps, self.width), "float32", ragged=True, fill=math.nan)

    @property
    def brief(self) -> str:
        """Short form of a clip's length and size."""
        return f"{'' if self.resized else '≤ '}{self.steps}×{self.width}"

    @property
    def preparation(self) -> str:
        """Treatment of the features in words; empty: they are taken as they are."""
        return f"resize to {things(self.steps, 'step')}" if self.resized else ""

    @property
    def facts(self) -> dict[str, Any]:
        """Facts about the clips that an evaluation reports."""
        return {"steps": self.steps, "width": self.width}

    @property
    def phrase(self) -> str:
        """Description of a clip, in words."""
        most = "" if self.resized else "up to "
        return f"clips of {most}{things(self.steps, 'vector')} of {self.width} features"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one view as it enters the network: (T, D)."""
        return (self.steps, self.width)


@dataclass(frozen=True)
class BoxInput:
    """Boxes in the key frame of a clip: corners x1, y1, x2, y2 in pixels of the view that the network sees.

    Attributes:
      count: R, most boxes per clip. Clips with fewer are padded with zeros; a box without area is padding.
    """

    count: int = 32

    kind: ClassVar[str] = "boxes"

    @property
    def field(self) -> Field:
        """Shape and type of one view in a batch: up to R boxes."""
        return Field((self.count, 4), "float32", ragged=True)

    @property
    def brief(self) -> str:
        """Short form of a clip's length and size."""
        return f"≤ {things(self.count, 'box', 'boxes')}"

    @property
    def preparation(self) -> str:
        """Empty: this input needs no preparation."""
        return ""

    @property
    def facts(self) -> dict[str, Any]:
        """Facts about the clips that an evaluation reports."""
        return {"boxes": self.count}

    @property
    def phrase(self) -> str:
        """Description of a clip, in words."""
        return f"up to {things(self.count, 'box', 'boxes')} a clip"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one view as it enters the network: (R, 4)."""
        return (self.count, 4)


@dataclass(frozen=True)
class BankInput(FeatureInput):
    """Vectors of boxes long before and after a clip, from a feature bank: as many for each second, padded with zeros.

    Attributes:
      seconds: length of the part of the video around the clip, a divisor of `steps`.
    """

    seconds: int = 60

    kind: ClassVar[str] = "bank"

    @property
    def phrase(self) -> str:
        """Description of a clip's part of the bank, in words."""
        return f"{things(self.steps, 'vector')} of {self.width} features of the {self.seconds} s around a clip"


Input = VideoInput | AudioInput | TextInput | FeatureInput | SequenceInput | BoxInput | BankInput
KINDS: dict[str, type[Input]] = {
    each.kind: each for each in (VideoInput, AudioInput, TextInput, FeatureInput, SequenceInput, BoxInput, BankInput)
}


def to_dict(inputs: Mapping[str, Input]) -> dict[str, Any]:
    """Convert inputs by name to plain values for JSON."""
    return {name: {"kind": value.kind} | dataclasses.asdict(value) for name, value in inputs.items()}


def from_dict(values: Mapping[str, Any]) -> dict[str, Input]:
    """Restore inputs by name from the values of `to_dict`.

    Raises:
      UserError: for a kind of input that this version does not support.
    """
    made: dict[str, Input] = {}
    for name, value in values.items():
        settings: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in value.items()}
        kind = settings.pop("kind")
        if kind not in KINDS:
            raise UserError(f"input {name!r} has kind {kind!r}; this version of vidjax supports {', '.join(KINDS)}")
        if kind == VideoInput.kind:
            settings |= _content_of(settings)
        made[name] = KINDS[kind](**settings)
    return made


def _content_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Content and fields of a stored video input; two channels without either, from before flow was an input, are the
    flow of I3D, whose networks were the only ones of two channels."""
    if settings.get("flow"):
        return {"flow": FlowFields(**settings["flow"])}
    return {"content": "flow", "flow": FlowFields("tvl1")} if len(settings.get("mean", ())) == 2 else {}
