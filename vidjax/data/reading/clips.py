"""Reading the clips of a model from a video file: frame indices, one decoding pass, crops.

Training, evaluation and prediction share `ClipReader`, so that all three see the same pixels.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from vidjax.config import DataConfig, SamplingConfig, Spec, short_video_rule
from vidjax.config.spec import need_pixels
from vidjax.data.listing.datasets import folder_fps
from vidjax.data.reading import augment, flow_clips, transforms
from vidjax.data.reading.flow_clips import ComputedFields, Fields, FlowReader, ResizedFields
from vidjax.data.reading.open_video import FrameReader, is_address, open_stored, open_video
from vidjax.data.records import Record
from vidjax.data.views import Views, crop_affine, mirror_affine
from vidjax.video import VideoError, VideoReader
from vidjax.video.crops import CROPS, spatial_flips
from vidjax.video.flow_folder import FlowPictures, StoredFlow, find_folder
from vidjax.video.sampling import RULES

AnyReader = VideoReader | FrameReader | FlowReader
# Start and end in seconds from the first frame; None: the video's own.
Segment = tuple[float | None, float | None]


def segment_frames(timestamps: np.ndarray, segment: Segment) -> tuple[int, int]:
    """First frame number and number of frames of a part of a video: frames shown from its start until before its end.

    A part between two frames, or after the last one, has only the nearest earlier frame.

    Args:
      timestamps: times of the frames, `(N,)`, seconds from the first frame, ascending.
      segment: start and end, seconds; None: beginning or end of the video.
    """
    start, end = segment
    first = 0 if start is None else int(np.searchsorted(timestamps, start))
    last = len(timestamps) if end is None else int(np.searchsorted(timestamps, end))
    if first >= last:
        first = max(int(np.searchsorted(timestamps, 0.0 if start is None else start, side="right")) - 1, 0)
        last = first + 1
    return first, last - first


def clip_indices(
    rule: str,
    num_frames: int,
    fps: float,
    spec: Spec,
    config: SamplingConfig,
    *,
    num_clips: int = 1,
    rng: np.random.Generator | None = None,
    at: int | None = None,
) -> np.ndarray:
    """Frame numbers of the clips that a sampling rule takes from a video, int64 `(K, T)`.

    The rule `all`, every frame at the stride, is cut into clips of T; the short-video rule completes the last one.

    Args:
      rule: name of the rule in `RULES`.
      num_frames: frames of the video, or of its selected part.
      fps: frame rate of the video, frames per second.
      spec: spec with the clip length and the stride or rate.
      config: settings of the short-video rule and the hop.
      num_clips: K, number of clips, unless the length of the video decides it.
      rng: generator for random rules, in training.
      at: number of the frame that every clip must show: the rule is `key_frame` then; None: any.
    """
    rule = rule if at is None else "key_frame"
    short, T = short_video_rule(config, rule), spec.video.num_frames
    indices = RULES[rule](
        num_frames,
        fps,
        T,
        stride=spec.video.stride,
        target_fps=spec.video.fps,
        num_clips=num_clips,
        short_video=short,
        rng=rng,
        **({"hop": config.hop or None} if rule == "sliding_window" else {}),
        **({"at": at} if rule == "key_frame" else {}),
    )
    if rule != "all":
        return indices
    whole, rest = indices[0, : indices.size // T * T].reshape(-1, T), indices[0, indices.size // T * T :]
    if not rest.size:
        return whole
    return np.concatenate([whole, rest[RULES["linspace"](rest.size, fps, T, short_video=short)]])


def frame_at(timestamps: np.ndarray, seconds: float) -> int:
    """Number of the frame nearest to a time, the earlier of two.

    Args:
      timestamps: times of the frames, `(N,)`, seconds from the first frame, ascending.
      seconds: time, seconds from the first frame.
    """
    after = int(np.searchsorted(timestamps, seconds))
    if after in (0, len(timestamps)):
        return min(after, len(timestamps) - 1)
    return after - int(seconds - timestamps[after - 1] <= timestamps[after] - seconds)


@dataclass(frozen=True)
class Decoded:
    """Decoded frames of a training video's V clips, before augmentation."""

    frames: np.ndarray  # uint8 (N, H, W, 3), each frame once; only the crop if `cut` is set; flow alone: those it needs
    where: np.ndarray  # int64 (V, T), indices into `frames` of each clip
    indices: np.ndarray  # int64 (V, T), numbers in the file
    times: np.ndarray  # float64 (V, T), seconds from the first frame of the file
    sizes: list[int | tuple[int, int] | None]  # (V,) sizes still to be applied; None: already decoded at its size
    cut: np.ndarray | None = None  # (2, 3), affine map from the picture to the crop already made; None: not cropped yet
    speed: np.ndarray | None = None  # float64 (V,), how much faster than recorded each clip is; None: as recorded
    numbers: np.ndarray | None = None  # int64 (N,), numbers of `frames` in the file, of clips with flow
    starts: np.ndarray | None = None  # int64 (V, T, L), numbers of the fields of flow
    stored: StoredFlow | None = None  # fields computed beforehand; None: they are computed from `frames`


@dataclass(frozen=True)
class ClipReader:
    """Reader of one model's clips from video files.

    Attributes:
      spec: spec with clip length, stride or rate, and sizes.
      config: settings of sampling, augmentation and reading.

    Raises:
      UserError: if the network's channels are not those of videos, or its flow cannot be read here.
    """

    spec: Spec
    config: DataConfig

    def __post_init__(self):
        need_pixels(self.spec)
        if self.spec.video.flow is not None:
            flow_clips.check_fields(self.spec.video.flow)

    def _open(self, path: str) -> tuple[AnyReader, StoredFlow | None]:
        """Open a video, and its stored fields of flow, if they are used."""
        fields, fps = self.spec.video.flow, folder_fps(self.config)
        options: dict[str, Any] = {"folder_fps": fps} | self.config.reading.limits
        if fields is None or fields.on_device:
            return open_video(path, **options), None
        if fields.method == "folder" and not is_address(path):
            pictures = FlowPictures(find_folder(self.config.flow_folder, path))
            stored = StoredFlow(pictures.folder, pictures, fields.bound, fields.rounding)
            if self.spec.video.content == "flow":
                return FlowReader(path, stored, fps), stored
            return open_video(path, **options), stored
        reader, stored = open_stored(path, **options)
        if stored is None and fields.method == "folder":
            reader.close()
            raise VideoError(path, "has no stored flow", "prepare the data set with --flow, or set another data.flow")
        return reader, flow_clips.suited(stored, fields)

    def _needed(
        self, indices: np.ndarray, length: int, stored: StoredFlow | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Numbers of the frames to read, and of the fields of flow `(K, T, L)`, for clips `(K, T)`."""
        fields = self.spec.video.flow
        if fields is None or fields.on_device:
            return np.unique(indices), None
        if stored is not None:
            length = min(length, len(stored) + 1)
        starts = flow_clips.stacks(indices, fields.count, length)
        colours = indices if self.spec.video.colours else np.empty(0, np.int64)
        if stored is not None:
            return np.unique(colours), starts
        return flow_clips.frames_with_stacks(colours, starts, length), starts

    def _fields(self, frames: np.ndarray, numbers: np.ndarray, stored: StoredFlow | None, *, keep: bool) -> Fields:
        """Fields of the flow of resized frames."""
        if stored is not None:
            return ResizedFields(stored, *frames.shape[1:3])
        assert self.spec.video.flow is not None  # only asked for then
        return ComputedFields(frames, numbers, self.spec.video.flow.method, keep=keep)

    def _complete(self, count: int, first: int, length: int) -> int:
        """Number of frames of a part of a video, from the frame `first` on, at which all fields of flow begin.

        Published two-stream protocols count fields, not frames: a clip's last frame has all its fields, too.
        """
        fields = self.spec.video.flow
        return count if fields is None else max(1, min(count, length - fields.count - first))

    def train(self, record: Record, rng: np.random.Generator, *, mirror: bool = True) -> tuple[np.ndarray, Views]:
        """Read augmented clips of a video, or of the record's part of it, in one decoding pass.

        Args:
          record: video, with the selected part.
          rng: generator of frame numbers and augmentation, drawn anew for each clip and shared by its frames.
          mirror: whether half of the clips are mirrored.

        Returns:
          Clips, uint8 `(V, T, size, size, C)` with V = `config.sampling.views`, and their views.

        Raises:
          VideoError: if the file cannot be decoded.
        """
        decoded = self.decode(record.path, rng, (record.start, record.end), record.moment)
        return self.augment(decoded, rng, mirror=mirror)

    def decode(
        self, path: str, rng: np.random.Generator, segment: Segment = (None, None), moment: float | None = None
    ) -> Decoded:
        """First half of `train`: draw frame numbers and sizes, and decode.

        Raises:
          VideoError: if the file cannot be decoded.
        """
        config = self.config
        reader, stored = self._open(path)
        with reader:
            draws = range(config.sampling.views)
            drawn = [self._train_indices(reader, segment, rng, moment) for _ in draws]
            indices, speed = np.concatenate([each for each, _ in drawn]), np.array([factor for _, factor in drawn])
            sizes = [self._train_resize(rng) for _ in indices]
            # Views of different sizes come from one pass at full size.
            early = config.clip.resize_rule == "opencv" and len(set(sizes)) == 1
            shown = flow_clips.shown(indices, self.spec.video, len(reader))
            wanted, starts = self._needed(shown, len(reader), stored)
            # Pixels outside a single clip's crop are neither resized nor kept, but flow is of the whole picture.
            box = None
            if early and len(sizes) == 1 and starts is None and not isinstance(reader, FlowReader):
                box = self._source_box(reader, sizes[0], rng)
            if box:
                frames = reader.read(wanted, crop=box, resize=(self.spec.video.size, self.spec.video.size))
            else:
                frames = reader.read(wanted, resize=sizes[0] if early else None)
            times = reader.timestamps[indices]
            cut = crop_affine(box, reader.height, reader.width) if box else None
        sizes = [None if early else s for s in sizes]
        where = np.searchsorted(wanted, shown)
        return Decoded(frames, where, indices, times, sizes, cut, speed, wanted, starts, stored)

    def augment(self, decoded: Decoded, rng: np.random.Generator, *, mirror: bool = True) -> tuple[np.ndarray, Views]:
        """Second half of `train`: resize clips not resized yet, mirror, crop and augment them."""
        if decoded.starts is not None:
            return self._augment_with_flow(decoded, rng, mirror=mirror)
        indices = decoded.indices
        mirrored = (rng.random(len(indices)) < 0.5) & mirror
        views, affine = [], []
        for clip, size, flipped in zip(decoded.where, decoded.sizes, mirrored, strict=True):
            whole = len(clip) == len(decoded.frames) and np.array_equal(clip, np.arange(len(clip)))
            view = decoded.frames if whole else decoded.frames[clip]  # no copy unless needed
            if size is not None:
                view = transforms.resize(view, size, self.config.clip.resize_rule)
            if decoded.cut is None:
                height, width = view.shape[1:3]
                box = self._box(height, width, rng)
                affine.append(crop_affine(box, height, width, mirrored=flipped))
                view = transforms.crop(view, box, self.spec.video.size)
            else:
                affine.append(mirror_affine(decoded.cut) if flipped else decoded.cut)
            view = self._recolour(transforms.mirror(view) if flipped else view.copy(), rng)
            views.append(self._erase(view, rng))
        video = flow_clips.side_by_side(np.stack(views) if len(views) > 1 else views[0][None], self.spec.video)
        return video, Views.of(indices, decoded.times, mirrored, affine, decoded.speed)

    def _augment_with_flow(
        self, decoded: Decoded, rng: np.random.Generator, *, mirror: bool
    ) -> tuple[np.ndarray, Views]:
        """Crop, mirror and augment clips with flow; colours change without it. See `augment`."""
        video, starts, numbers = self.spec.video, decoded.starts, decoded.numbers
        assert starts is not None and numbers is not None and video.flow is not None
        mirrored = (rng.random(len(starts)) < 0.5) & mirror
        out = np.empty((*starts.shape[:2], video.size, video.size, video.read_channels), np.uint8)
        frames = decoded.frames
        fields = self._fields(frames, numbers, decoded.stored, keep=len(starts) > 1)
        affine = []
        for index, (view, size, flipped) in enumerate(zip(out, decoded.sizes, mirrored, strict=True)):
            if size is not None:
                frames = transforms.resize(decoded.frames, size, self.config.clip.resize_rule)
                fields = self._fields(frames, numbers, decoded.stored, keep=False)
            height, width = frames.shape[1:3]
            box = self._box(height, width, rng)
            affine.append(crop_affine(box, height, width, mirrored=flipped))
            if video.colours:
                colours = transforms.crop(frames[decoded.where[index]], box, video.size)
                colours = transforms.mirror(colours) if flipped else colours.copy()
                view[..., : video.colours] = self._recolour(colours, rng)
            flow_clips.write_stacks(
                out[index, None], starts[index, None], fields, video.flow, [(0, box, bool(flipped))]
            )
            view[:] = self._erase(view, rng)
        return out, Views.of(decoded.indices, decoded.times, mirrored, affine, decoded.speed)

    def evaluate(self, record: Record, num_clips: int, num_crops: int) -> tuple[np.ndarray, Views]:
        """Read all evaluation views of a video, or of the record's part of it, in one decoding pass, clip by clip.

        With the rules `sliding_window` and `all` the length of the video decides the number of clips.

        Args:
          record: video, with the selected part.
          num_clips: K, clips spread over time.
          num_crops: crops per clip.

        Returns:
          Clips, uint8 `(K · num_crops, T, size, size, C)`, and their views.

        Raises:
          VideoError: if the file cannot be decoded.
        """
        reader, stored = self._open(record.path)
        with reader:
            segment = record.start, record.end
            first, count = segment_frames(reader.timestamps, segment)
            rule, sampling, at = self.config.sampling.eval, self.config.sampling, self._at(reader, first, record.moment)
            count = self._complete(count, first, len(reader)) if at is None else count
            indices = first + clip_indices(rule, count, reader.fps, self.spec, sampling, num_clips=num_clips, at=at)
            shown = flow_clips.shown(indices, self.spec.video, len(reader))
            wanted, starts = self._needed(shown, len(reader), stored)
            early = self.config.clip.resize_rule == "opencv"
            frames = reader.read(wanted, resize=self._resize() if early else None)
            times = reader.timestamps[indices]
        if not early:
            frames = transforms.resize(frames, self._resize(), self.config.clip.resize_rule)
        height, width = frames.shape[1:3]
        clips, size, input = np.searchsorted(wanted, shown), self.spec.video.size, self.spec.video
        boxes = transforms.eval_boxes(height, width, size, num_crops, self.config.clip.resize_rule)
        flips = spatial_flips(CROPS[num_crops])
        on_device = input.flow is not None and input.flow.on_device
        channels = 3 if on_device else input.read_channels
        video = np.empty((len(clips) * len(boxes), clips.shape[1], size, size, channels), np.uint8)
        crops = list(zip(boxes, flips, strict=True))
        if input.flow is not None and starts is not None:
            fields = self._fields(frames, wanted, stored, keep=False)
            views = [(clip, *crop) for clip, crop in itertools.product(range(len(clips)), crops)]
            flow_clips.write_stacks(video, starts, fields, input.flow, views)
        colours = video[..., : 3 if on_device else input.colours] if on_device or input.colours else ()
        for view, (clip, (box, flip)) in zip(colours, itertools.product(clips, crops), strict=False):
            # Frame by frame: gathering the frames of a clip first would copy more than its crops hold.
            for target, number in zip(view, clip, strict=True):
                (part,) = transforms.crop(frames[number, None], box, size)
                target[:] = part[:, ::-1] if flip else part
        video = flow_clips.side_by_side(video, input)
        indices, times = indices.repeat(num_crops, axis=0), times.repeat(num_crops, axis=0)
        affine = [crop_affine(box, height, width, mirrored=flip) for box, flip in zip(boxes, flips, strict=True)]
        return video, Views.of(indices, times, np.tile(flips, len(clips)), affine * len(clips))

    def _box(self, height: int, width: int, rng: np.random.Generator) -> transforms.Box:
        config = self.config.augment
        return transforms.TRAIN_CROPS[config.crop](height, width, rng, config, self.spec.video.size)

    def _source_box(
        self, reader: VideoReader | FrameReader, size: int | tuple[int, int], rng: np.random.Generator
    ) -> transforms.Box | None:
        """Crop, in pixels of the video, of a clip that would be resized to `size` first; None if the clip is enlarged
        so much that whole pixels are too coarse."""
        height, width = transforms.resized(reader.height, reader.width, size)
        down, across = reader.height / height, reader.width / width
        if min(down, across) < 0.5:
            return None
        top, left, tall, wide = self._box(height, width, rng)
        tall, wide = max(1, round(tall * down)), max(1, round(wide * across))
        return min(round(top * down), reader.height - tall), min(round(left * across), reader.width - wide), tall, wide

    def _recolour(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Change the colours of one clip `(T, size, size, 3)`, possibly in place."""
        config, video = self.config.augment, self.spec.video
        fill = [round(255 * m) for m in flow_clips.drawn(video)[0]]
        # A share of 1 needs no draw, so that runs from before this setting stay the same.
        if (config.colour_jitter or config.hue) and (config.jittered == 1 or rng.random() < config.jittered):
            frames = augment.colour_jitter(frames, config.colour_jitter, rng, config.hue)
        if config.greyscale and rng.random() < config.greyscale:
            frames = augment.greyscale(frames)
        if config.randaugment_m:
            frames = augment.rand_augment(
                frames,
                rng,
                magnitude=config.randaugment_m,
                num_ops=config.randaugment_n,
                std=config.randaugment_mstd,
                increasing=config.randaugment_inc,
                fill=fill,
            )
        if config.augmix_m:
            frames = augment.aug_mix(
                frames,
                rng,
                magnitude=config.augmix_m,
                width=config.augmix_width,
                depth=config.augmix_depth,
                alpha=config.augmix_alpha,
                fill=fill,
            )
        return frames

    def _erase(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Erase a box of one clip `(T, size, size, C)`, perhaps."""
        config, video = self.config.augment, self.spec.video
        if config.erase and rng.random() < config.erase:
            mean, std = flow_clips.drawn(video)
            frames = transforms.erase(
                frames,
                rng,
                mode=config.erase_mode,
                area=config.erase_area,
                aspect=config.erase_aspect,
                mean=mean,
                std=std,
            )
        return frames

    def _at(self, reader: AnyReader, first: int, moment: float | None) -> int | None:
        """Number of the frame shown at `moment`, counted from the frame `first`."""
        return None if moment is None else frame_at(reader.timestamps, moment) - first

    def _train_indices(
        self, reader: AnyReader, segment: Segment, rng: np.random.Generator, moment: float | None
    ) -> tuple[np.ndarray, float]:
        """Frame numbers of one training clip, `(1, T)`, in display order, and how much faster it is than recorded."""
        config, spec, factor = self.config.sampling, self.spec, 1.0
        first, count = segment_frames(reader.timestamps, segment)
        if config.speed != (1, 1):
            factor = transforms.draw_speed(config.speed, rng)
            stride, fps = spec.video.stride, spec.video.fps
            spec = spec.with_video(**({"stride": stride * factor} if fps is None else {"fps": fps / factor}))
        at = self._at(reader, first, moment)
        count = self._complete(count, first, len(reader)) if at is None else count
        indices = first + clip_indices(config.train, count, reader.fps, spec, config, rng=rng, at=at)
        if config.temporal_jitter:
            step = spec.video.stride if spec.video.fps is None else reader.fps / spec.video.fps
            indices = transforms.jitter_times(indices, step, first + count - 1, rng)
        if config.reverse and rng.random() < config.reverse:
            indices = indices[:, ::-1]
        return indices, factor

    def _train_resize(self, rng: np.random.Generator) -> int | tuple[int, int]:
        if self.config.augment.crop == "short_side":
            return transforms.draw_short_side(self.config.augment.short_side, rng)
        return self._resize()

    def _resize(self) -> int | tuple[int, int]:
        return self.spec.video.target
