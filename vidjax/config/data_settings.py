"""The settings under `data`: which videos there are, and how they become clips."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from vidjax.config.choices import DATASETS, PRESETS, SAMPLING_RULES
from vidjax.config.fields import (
    above_zero,
    anything,
    at_least,
    between,
    choice,
    falling_shares,
    one_of,
    per_channel,
    positive,
    share,
    sides,
    strictly_between,
    weights,
)
from vidjax.config.section import Section


@dataclass
class ClipConfig(Section, path="data.clip"):
    """Shape and pixels of the clips that a network sees."""

    num_frames: int = at_least(0, 0, "Frames per clip (T); 0: the model's.", meaning="the model's own")
    stride: int = at_least(
        0, 0, "Distance of two neighbours of a clip (τ); 0: the model's.", unit="source frames",
        meaning="the model's own",
    )  # fmt: skip
    fps: float = at_least(
        0, 0.0, "Rate at which frames are taken, instead of a stride; 0: the model's.", unit="frames per second",
        meaning="the model's own",
    )  # fmt: skip
    size: int = at_least(
        0, 0, "Height and width of the crop; 0: the model's.", unit="pixels", meaning="the model's own"
    )
    resize: tuple[int, ...] = anything(
        (), "What frames are resized to before the crop: (short side,) or (height, width); (): the model's.",
        unit="pixels", check=sides,
    )  # fmt: skip
    resize_rule: str = choice(
        "opencv",
        "torchvision",
        help="How frames are resized; torchvision: to the bit what that makes of pixels, several times slower.",
    )
    mean: tuple[float, ...] = per_channel("Mean of each channel, subtracted from values in 0…1; (): the model's.")
    std: tuple[float, ...] = per_channel(
        "Standard deviation of each channel, by which values are divided; (): the model's.", positive=True
    )
    preset: str = choice(
        "",
        *PRESETS,
        help="Another project's transform: sets those fields of data.clip and data.augment that are at their defaults.",
    )


@dataclass
class SamplingConfig(Section, path="data.sampling"):
    """Which frames clips take."""

    train: str = choice("random", *SAMPLING_RULES, help="Rule for the frames of a training clip.")
    eval: str = choice(
        "multi_clip",
        *SAMPLING_RULES,
        help="Rule for the frames of evaluation clips. multi_clip: windows spread to both ends; sliding_window and "
        "all: the whole video, in as many clips as that takes.",
    )
    hop: int = anything(
        0,
        "Distance from one clip of sliding_window to the next; 0: no gap and no overlap.",
        unit="source frames",
        check=lambda hop: "" if hop >= 0 else "must be 0 or more source frames",
    )
    short_video: str = choice(
        "auto",
        "loop",
        "hold",
        "spread",
        help="A video shorter than a clip is shown again from the start (loop), its last frame held (hold), or its "
        "frames spread over the clip (spread); auto: as the published rule does, or else loop.",
    )
    views: int = at_least(
        1, 1, "Training clips per video in a batch, each with draws of its own; the video is read once for all."
    )
    speed: tuple[float, float] = between(
        (1.0, 1.0), "Bounds of how many times faster a training clip runs, drawn log-uniformly.", most=100
    )
    temporal_jitter: bool = anything(
        False, "Whether each frame of a training clip is a random one of those up to the clip's next frame."
    )
    reverse: float = share(0.0, "Share of the training clips that are played backwards.")


@dataclass
class AugmentConfig(Section, path="data.augment"):
    """Changes of training clips; every draw holds for all frames of a clip."""

    crop: str = choice(
        "square",
        "short_side",
        "random_resized",
        "multi_scale",
        help="How training clips are cut out; they are resized to data.clip.size afterwards.",
    )
    scale: tuple[float, float] = between(
        (0.8, 1.0),
        "For crop=square: bounds of the side, as shares of the resized short side; (1, 1): all of it.",
        most=1,
    )
    short_side: tuple[int, int] = between(
        (256, 320),
        "For crop=short_side: frames are resized to a short side between these, instead of data.clip.resize, and "
        "data.clip.size pixels are cut out anywhere.",
        most=10**5,
        unit="pixels",
    )
    crop_area: tuple[float, float] = between(
        (0.08, 1.0), "For crop=random_resized: bounds of the area, as shares of the resized frame.", most=1
    )
    crop_aspect: tuple[float, float] = between(
        (0.75, 4 / 3), "For crop=random_resized: bounds of width to height.", most=100
    )
    crop_scales: tuple[float, ...] = anything(
        (1.0, 0.875, 0.75, 0.66),
        "For crop=multi_scale: the possible sides, as shares of the short side.",
        check=falling_shares,
    )
    crop_gap: int = at_least(
        0, 1, "For crop=multi_scale: how far apart in crop_scales width and height may be; 0: squares."
    )
    crop_positions: int = one_of(
        13,
        (0, 5, 13),
        "For crop=multi_scale: 5 (corners, centre), 13 (and those between), or 0: anywhere.",
        what="must be 5, 13, or 0 (anywhere)",
    )
    flip: bool | None = anything(
        None,
        "Whether half of the clips are mirrored; None: unless the classes tell left from right and "
        "task.classify.flip_pairs is empty. Where they do, the labels that mirroring swaps are swapped, as far as they "
        "are known.",
    )
    colour_jitter: float = share(0.0, "Strength of random brightness, contrast and saturation.")
    hue: float = share(0.0, "Share of the colour circle by which colours are turned at most.", most=0.5)
    jittered: float = share(1.0, "Share of the clips that colour_jitter and hue change.")
    greyscale: float = share(0.0, "Share of the clips that lose their colours.")
    randaugment_m: float = share(0.0, "Magnitude of RandAugment; 0: none.", most=10)
    randaugment_n: int = at_least(
        1, 2, "Operations of RandAugment per clip, each carried out with a probability of 0.5."
    )
    randaugment_mstd: float = at_least(
        0, 0.5, "Standard deviation of RandAugment's magnitude; above 100: uniform between 0 and the magnitude."
    )
    randaugment_inc: bool = anything(
        True, "Whether a higher magnitude of RandAugment is a stronger change with every operation."
    )
    augmix_m: float = share(0.0, "Largest magnitude of AugMix; 0: none.", most=10)
    augmix_width: int = at_least(1, 3, "Chains of operations of AugMix.")
    augmix_depth: int = at_least(0, 0, "Operations in each chain of AugMix; 0: 1, 2 or 3.")
    augmix_alpha: float = positive(1.0, "Parameter of AugMix's Dirichlet and Beta distributions.")
    erase: float = share(0.0, "Share of the clips of which a box is erased.")
    erase_mode: str = choice("pixel", "const", help="What an erased box shows: noise (pixel), the mean colour (const).")
    erase_area: tuple[float, float] = between(
        (0.02, 1 / 3), "Bounds of the erased area, as shares of the picture.", most=1
    )
    erase_aspect: tuple[float, float] = between(
        (0.3, 1 / 0.3), "Bounds of height to width of the erased box.", most=100
    )


@dataclass
class ReadingConfig(Section, path="data.reading"):
    """Processes and threads that read videos; none of this changes what is read."""

    num_workers: int = at_least(0, 0, "Decoding processes per training process; 0: threads of the training process.")
    num_threads: int = at_least(1, 4, "Decoding threads per process.")
    prefetch: int = at_least(1, 4, "Batches kept ready per process.")
    timeout: float = positive(60.0, "Time after which a stalled decoder is killed.", unit="seconds")
    isolate: bool = anything(
        True,
        "Whether videos are decoded in processes of their own, one per decoding thread, that can be killed and may "
        "crash.",
    )


@dataclass
class DataConfig(Section, path="data"):
    """Which videos there are."""

    train: str = anything(
        "",
        "Training videos: a CSV file (path,label[,split,group]), a folder with one sub-folder per class, the folder of "
        "a prepared data set, or tfds:NAME[/CONFIG][:VERSION]. Where there are splits, rows marked val or test do not "
        "train; @SPLIT behind all but a folder takes the rows of one split instead, @all every row. Several are joined "
        "by commas; a class is known by its name, so sources that have a name in common share the class.",
    )
    eval: str = anything(
        "",
        "Evaluation videos, given as in data.train (it may be the same file); rows marked train do not evaluate. "
        "Empty: the rows of data.train that are marked val or test, or a held-out share of it.",
    )
    mixture: tuple[float, ...] = anything(
        (),
        "Weight of each source of data.train: the share of the clips that it gives; (): every video of every source "
        "once per epoch. An epoch is as many clips as there are training videos in any case.",
        check=weights,
    )
    quarantine: str = anything(
        "",
        "Videos to leave alone: the CSV of `vidjax check`, any CSV with the column path, a bad_records.jsonl, or the "
        "work directory that has it; several are joined by commas. They are not trained on, and count as unreadable "
        "in evaluation.",
    )
    root: str = anything(
        "", "Folder that relative paths in CSV files start from; empty: the file's own folder. For tfds: its data_dir."
    )
    dataset: str = choice(
        "",
        *DATASETS,
        help="Published data set: data.train and data.eval are its annotation files or their folder, labels are its "
        "classes in its order, and videos not found below data.root are left out.",
    )
    split: int = at_least(1, 1, "Number of the official split, where the data set has several (UCF-101, HMDB-51: 1…3).")
    folder_fps: float = at_least(
        0, 0.0, "Rate of videos that are given as folders of images; 0: the data set's, or else 25.",
        unit="frames per second", meaning="the data set's, or else 25",
    )  # fmt: skip
    synthetic: str = choice(
        "", "motion", help="Data set to generate in the folder of data.train, if it is not there yet."
    )
    eval_share: float = strictly_between(
        0.2, "Share held out (whole groups) where there is neither data.eval nor a split column."
    )
    train_share: float = above_zero(
        1.0,
        "Share of the training videos that is used, of each class; the seed alone decides which, so that runs can be "
        "compared. A smaller share is part of a larger one.",
        whole="all of them",
    )

    clip: ClipConfig = field(default_factory=ClipConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    reading: ReadingConfig = field(default_factory=ReadingConfig)


def mirrors(augment: AugmentConfig, flip_pairs: Sequence[str], directional: bool) -> bool:
    """Whether half of the training clips are mirrored.

    Args:
      augment: its `flip` is used.
      flip_pairs: of `ClassifyConfig`.
      directional: the classes tell left from right.
    """
    return augment.flip if augment.flip is not None else not directional or bool(flip_pairs)


def short_video_rule(sampling: SamplingConfig, rule: str) -> str:
    """What `sampling.short_video` means for a sampling rule: loop, hold or spread."""
    return SAMPLING_RULES[rule][0] if sampling.short_video == "auto" else sampling.short_video


def apply_preset(config: DataConfig) -> DataConfig:
    """`config` with the settings of its preset in those fields that are at their defaults."""
    standard, preset, changed = DataConfig(), PRESETS.get(config.clip.preset, {}), {}
    for name, values in preset.items():
        own, default = getattr(config, name), getattr(standard, name)
        changed[name] = replace(own, **{f: v for f, v in values.items() if getattr(own, f) == getattr(default, f)})
    return replace(config, **changed)
