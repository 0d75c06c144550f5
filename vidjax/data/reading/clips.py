"""One video file → the clips a model sees: frame indices, one decoding pass, crops.

`ClipReader` holds what training, evaluation and prediction have in common, so that all three see the same pixels.
"""

import dataclasses
import itertools
from dataclasses import dataclass, field

import numpy as np

from vidjax.config import ClassifyConfig, DataConfig, SamplingConfig, Spec, mirrors, short_video_rule
from vidjax.data.listing.datasets import folder_fps
from vidjax.data.reading import augment, transforms
from vidjax.data.reading.open_video import FrameReader, open_video
from vidjax.data.spec import need_colour, resize_target
from vidjax.video import VideoReader
from vidjax.video.crops import CROPS, spatial_flips
from vidjax.video.sampling import RULES

# Start and end in seconds from the first frame; None: that of the video.
Segment = tuple[float | None, float | None]


def segment_frames(timestamps: np.ndarray, segment: Segment) -> tuple[int, int]:
    """Number of the first frame of a part of a video, and how many frames it has: those shown from start to before end.

    A part that lies between two frames, or behind the last one, has the one frame nearest before it.

    Args:
      timestamps: `(N,)`, seconds from the first frame, rising.
      segment: start and end, seconds; None: the beginning or the end of the video.
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
) -> np.ndarray:
    """Frame numbers of the clips that a rule of `config` takes of a video, int64 `(K, T)`.

    `all`, which gives every frame at the stride, is cut into clips of T; the last is filled up by the short-video rule.

    Args:
      rule: its name in `RULES`.
      num_frames: frames of the video, or of the part of it that is meant.
      fps: frames per second.
      spec: clip length, stride or rate.
      config: the short-video rule and the hop.
      num_clips: K, where the length of the video does not decide.
      rng: for training.
    """
    short, T = short_video_rule(config, rule), spec.num_frames
    indices = RULES[rule](
        num_frames,
        fps,
        T,
        stride=spec.stride,
        target_fps=spec.fps,
        num_clips=num_clips,
        short_video=short,
        rng=rng,
        **({"hop": config.hop or None} if rule == "sliding_window" else {}),
    )
    if rule != "all":
        return indices
    whole, rest = indices[0, : indices.size // T * T].reshape(-1, T), indices[0, indices.size // T * T :]
    if not rest.size:
        return whole
    return np.concatenate([whole, rest[RULES["linspace"](rest.size, fps, T, short_video=short)]])


@dataclass(frozen=True)
class Clips:
    """Views of one video, and which of its frames they show."""

    video: np.ndarray  # uint8 (V, T, size, size, 3)
    frames: np.ndarray  # int64 (V, T), numbers in the file
    times: np.ndarray  # float64 (V, T), seconds from the first frame of the file
    mirrored: np.ndarray  # bool (V,), shown mirrored left to right


@dataclass(frozen=True)
class Decoded:
    """The frames of a training video's V clips, before they are augmented."""

    frames: np.ndarray  # uint8 (N, H, W, 3), each frame once; the crop alone where `cropped`
    where: np.ndarray  # int64 (V, T), of which of them each clip consists
    indices: np.ndarray  # int64 (V, T), numbers in the file
    times: np.ndarray  # float64 (V, T), seconds from the first frame of the file
    sizes: list[int | tuple[int, int] | None]  # (V,) that a clip is still to be resized to; None: decoded to it
    cropped: bool = False  # whether the frames are cut out already


@dataclass(frozen=True)
class ClipReader:
    """Reads clips of one model's spec from video files.

    Attributes:
      spec: clip length, stride or rate, sizes.
      config: sampling, short-video rule, augmentation, timeout.
      classify: which classes mirroring swaps, and whether their shares are balanced.

    Raises:
      UserError: if the spec is of a network that sees something else than colour, by its number of channels.
    """

    spec: Spec
    config: DataConfig
    classify: ClassifyConfig = field(default_factory=ClassifyConfig)

    def __post_init__(self):
        need_colour(self.spec)

    def _open(self, path: str) -> VideoReader | FrameReader:
        reading = self.config.reading
        return open_video(path, timeout=reading.timeout, folder_fps=folder_fps(self.config), isolate=reading.isolate)

    def read_train(self, path: str, rng: np.random.Generator, segment: Segment = (None, None)) -> np.ndarray:
        """The video of `train_clips`, uint8 `(V, T, size, size, 3)`."""
        return self.train_clips(path, rng, segment).video

    def train_clips(
        self, path: str, rng: np.random.Generator, segment: Segment = (None, None), *, directional: bool = False
    ) -> Clips:
        """`config.sampling.views` augmented clips of the video's part `segment`, from one decoding pass.

        Args:
          path: of the file, or an address.
          rng: draws frames and augmentation, for each clip anew and for all its frames alike.
          segment: start and end, seconds.
          directional: mirroring would change what the video shows. Then clips are mirrored only where
            `vidjax.config.mirrors` says so, and all views of a video or none, since they share a label.

        Raises:
          VideoError: if the file cannot be decoded.
        """
        return self.augment(self.decode(path, rng, segment), rng, directional=directional)

    def decode(self, path: str, rng: np.random.Generator, segment: Segment = (None, None)) -> Decoded:
        """The first half of `train_clips`: draw frames and sizes, and decode."""
        config = self.config
        with self._open(path) as reader:
            indices = np.concatenate([self._train_indices(reader, segment, rng) for _ in range(config.sampling.views)])
            sizes = [self._train_resize(rng) for _ in indices]
            # Views of different sizes come from one pass at full size.
            early = config.clip.resize_rule == "opencv" and len(set(sizes)) == 1
            wanted, where = np.unique(indices, return_inverse=True)
            # What a single clip does not show is neither resized nor kept.
            box = self._source_box(reader, sizes[0], rng) if early and len(sizes) == 1 else None
            if box:
                frames = reader.read(wanted, crop=box, resize=(self.spec.size, self.spec.size))
            else:
                frames = reader.read(wanted, resize=sizes[0] if early else None)
            times = reader.timestamps[indices]
        sizes = [None if early else s for s in sizes]
        return Decoded(frames, where.reshape(indices.shape), indices, times, sizes, cropped=box is not None)

    def augment(self, decoded: Decoded, rng: np.random.Generator, *, directional: bool = False) -> Clips:
        """The second half of `train_clips`: resize what is not resized yet, mirror, crop, augment."""
        indices = decoded.indices
        mirrored = rng.random(len(indices)) < 0.5
        mirrored &= mirrors(self.config.augment, self.classify.flip_pairs, directional)
        if directional:
            mirrored[:] = mirrored[0]
        views = []
        for clip, size, mirror in zip(decoded.where, decoded.sizes, mirrored, strict=True):
            whole = len(clip) == len(decoded.frames) and np.array_equal(clip, np.arange(len(clip)))
            view = decoded.frames if whole else decoded.frames[clip]  # what need not be gathered is not
            if size is not None:
                view = transforms.resize(view, size, self.config.clip.resize_rule)
            if not decoded.cropped:
                view = transforms.crop(view, self._box(*view.shape[1:3], rng), self.spec.size)
            views.append(self._augment(transforms.mirror(view) if mirror else view.copy(), rng))
        video = np.stack(views) if len(views) > 1 else views[0][None]
        return Clips(video, indices, decoded.times, mirrored)

    def read_eval(self, path: str, num_clips: int, num_crops: int, segment: Segment = (None, None)) -> np.ndarray:
        """The video of `eval_clips`, uint8 `(K · num_crops, T, size, size, 3)`."""
        return self.eval_clips(path, num_clips, num_crops, segment).video

    def eval_clips(self, path: str, num_clips: int, num_crops: int, segment: Segment = (None, None)) -> Clips:
        """All views of a video's part `segment` from one decoding pass, clip by clip.

        With `sliding_window` and `all` the length of the video decides how many clips there are.

        Raises:
          VideoError: if the file cannot be decoded.
        """
        with self._open(path) as reader:
            indices = self._indices(self.config.sampling.eval, reader, segment, num_clips, None)
            wanted, where = np.unique(indices, return_inverse=True)
            early = self.config.clip.resize_rule == "opencv"
            frames = reader.read(wanted, resize=self._resize() if early else None)
            times = reader.timestamps[indices]
        if not early:
            frames = transforms.resize(frames, self._resize(), self.config.clip.resize_rule)
        height, width = frames.shape[1:3]
        clips, size = where.reshape(indices.shape), self.spec.size
        boxes = transforms.eval_boxes(height, width, size, num_crops, self.config.clip.resize_rule)
        flips = spatial_flips(CROPS[num_crops])
        video = np.empty((len(clips) * len(boxes), clips.shape[1], size, size, 3), np.uint8)
        for view, (clip, (box, flip)) in zip(
            video, itertools.product(clips, list(zip(boxes, flips, strict=True))), strict=True
        ):
            # Frame by frame: to gather the frames of a clip first would copy more than its crops hold.
            for target, number in zip(view, clip, strict=True):
                (part,) = transforms.crop(frames[number, None], box, size)
                target[:] = part[:, ::-1] if flip else part
        indices, times = indices.repeat(num_crops, axis=0), times.repeat(num_crops, axis=0)
        return Clips(video, indices, times, np.tile(flips, len(clips)))

    def _box(self, height: int, width: int, rng: np.random.Generator) -> transforms.Box:
        return transforms.TRAIN_CROPS[self.config.augment.crop](height, width, rng, self.config.augment, self.spec.size)

    def _source_box(
        self, reader: VideoReader | FrameReader, size: int | tuple[int, int], rng: np.random.Generator
    ) -> transforms.Box | None:
        """The crop that a clip resized to `size` would have, in pixels of the video; None for one that is enlarged so
        much that whole pixels are too coarse for it."""
        height, width = transforms.resized(reader.height, reader.width, size)
        down, across = reader.height / height, reader.width / width
        if min(down, across) < 0.5:
            return None
        top, left, tall, wide = self._box(height, width, rng)
        tall, wide = max(1, round(tall * down)), max(1, round(wide * across))
        return min(round(top * down), reader.height - tall), min(round(left * across), reader.width - wide), tall, wide

    def _augment(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Colours and erasing of one clip `(T, size, size, 3)`, whose frames may be written into."""
        config, spec = self.config.augment, self.spec
        fill = [round(255 * m) for m in spec.mean]
        # All of the clips need no draw, so that runs of before this choice stay what they were.
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
        if config.erase and rng.random() < config.erase:
            frames = transforms.erase(
                frames,
                rng,
                mode=config.erase_mode,
                area=config.erase_area,
                aspect=config.erase_aspect,
                mean=spec.mean,
                std=spec.std,
            )
        return frames

    def _train_indices(
        self, reader: VideoReader | FrameReader, segment: Segment, rng: np.random.Generator
    ) -> np.ndarray:
        """Frame numbers of one training clip, `(1, T)`, in the order of showing."""
        config, spec = self.config.sampling, self.spec
        first, count = segment_frames(reader.timestamps, segment)
        if config.speed != (1, 1):
            factor = transforms.draw_speed(config.speed, rng)
            rate = {"stride": spec.stride * factor} if spec.fps is None else {"fps": spec.fps / factor}
            spec = dataclasses.replace(spec, **rate)
        indices = first + clip_indices(config.train, count, reader.fps, spec, config, rng=rng)
        if config.temporal_jitter:
            step = spec.stride if spec.fps is None else reader.fps / spec.fps
            indices = transforms.jitter_times(indices, step, first + count - 1, rng)
        if config.reverse and rng.random() < config.reverse:
            indices = indices[:, ::-1]
        return indices

    def _indices(
        self,
        rule: str,
        reader: VideoReader | FrameReader,
        segment: Segment,
        num_clips: int,
        rng: np.random.Generator | None,
    ) -> np.ndarray:
        first, count = segment_frames(reader.timestamps, segment)
        sampling = self.config.sampling
        return first + clip_indices(rule, count, reader.fps, self.spec, sampling, num_clips=num_clips, rng=rng)

    def _train_resize(self, rng: np.random.Generator) -> int | tuple[int, int]:
        if self.config.augment.crop == "short_side":
            return transforms.draw_short_side(self.config.augment.short_side, rng)
        return self._resize()

    def _resize(self) -> int | tuple[int, int]:
        return resize_target(self.spec)
