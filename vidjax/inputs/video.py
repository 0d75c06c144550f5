"""Clips of frames, of optical flow, or of both."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from vidjax.errors import UserError
from vidjax.inputs.field import Field
from vidjax.wording import ordinal, things

CONTENTS = ("rgb", "flow", "rgb+flow")  # of a video
DEVICE_FLOWS = ("raft_small", "raft_large")  # methods of flow that run on the device, from colours


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
    def on_device(self) -> bool:
        """Whether a network estimates the fields on the device; the host then gives the colours of L + 1 frames."""
        return self.method in DEVICE_FLOWS

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
    def host_channels(self) -> int:
        """Channels of what is read from the file: `read_channels`, or the colours of L + 1 frames, one after the other,
        from which the device estimates flow."""
        return 3 * (self.flow.count + 1) if self.flow and self.flow.on_device else self.read_channels

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
        return Field((self.num_frames, self.size, self.size, self.host_channels), "uint8", below=256)

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


def content_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Content and fields of a stored video input; two channels without either, from before flow was an input, are the
    flow of I3D, whose networks were the only ones of two channels."""
    if settings.get("flow"):
        return {"flow": FlowFields(**settings["flow"])}
    return {"content": "flow", "flow": FlowFields("tvl1")} if len(settings.get("mean", ())) == 2 else {}
