"""The settings under `data`: sources of videos, and sampling, reading and augmentation of clips."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vidjax.config.choices import DATASETS, FLOWS, PRESETS, SAMPLING_RULES, SYNTHETIC
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
from vidjax.config.pair_settings import PairConfig
from vidjax.config.section import Section
from vidjax.config.sound_settings import SoundConfig
from vidjax.config.text_settings import TextConfig


@dataclass
class ClipConfig(Section, path="data.clip"):
    """Shape and pixels of the clips that a network sees."""

    num_frames: int = at_least(0, 0, "Frames per clip (T); 0: the model's.", meaning="the model's own")
    stride: int = at_least(
        0, 0, "Distance between neighbouring frames of a clip (τ); 0: the model's.", unit="source frames",
        meaning="the model's own",
    )  # fmt: skip
    fps: float = at_least(
        0, 0.0, "Sampling rate of frames, instead of a stride; 0: the model's.", unit="frames per second",
        meaning="the model's own",
    )  # fmt: skip
    size: int = at_least(
        0, 0, "Height and width of the crop; 0: the model's.", unit="pixels", meaning="the model's own"
    )
    boxes: int = at_least(
        0, 0, "Most boxes per clip that a network of boxes is asked about; 0: the model's.", meaning="the model's own"
    )
    bank: str = anything("", "Folder of a long-term feature bank, by `vidjax bank`, for networks that read one.")
    resize: tuple[int, ...] = anything(
        (), "Size of frames before the crop: (short side,) or (height, width); (): the model's.",
        unit="pixels", check=sides,
    )  # fmt: skip
    resize_rule: str = choice(
        "opencv",
        "torchvision",
        help="Rule of resizing; torchvision: bit-identical to that library, but several times slower.",
    )
    mean: tuple[float, ...] = per_channel(
        "Mean of each channel, subtracted from values in 0…1: 3 colours, 2 of flow for all its fields, or 5; (): the "
        "model's."
    )
    std: tuple[float, ...] = per_channel(
        "Standard deviation of each channel, the divisor of values, as many as means; (): the model's.", positive=True
    )
    preset: str = choice(
        "",
        *PRESETS,
        help="Transform of another project: sets the fields of data.clip and data.augment that are at their defaults.",
    )


@dataclass
class SamplingConfig(Section, path="data.sampling"):
    """Choice of the frames of clips."""

    train: str = choice(
        "random",
        *SAMPLING_RULES,
        help="Rule for the frames of a training clip. Clips of videos with boxes are always around the moment of these "
        "(key_frame).",
    )
    eval: str = choice(
        "multi_clip",
        *SAMPLING_RULES,
        help="Rule for the frames of evaluation clips. multi_clip: windows spread from end to end; sliding_window and "
        "all: the whole video, in as many clips as needed.",
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
        help="Rule for a video shorter than a clip: repeat it from the start (loop), hold its last frame (hold), or "
        "spread its frames over the clip (spread); auto: as in the published rule, or else loop.",
    )
    views: int = at_least(
        1, 1, "Training clips per video in a batch, each with its own random draws; the video is read only once."
    )
    speed: tuple[float, float] = between(
        (1.0, 1.0), "Bounds of the speed factor of a training clip, drawn log-uniformly.", most=100
    )
    temporal_jitter: bool = anything(
        False, "Whether to replace each frame of a training clip by a random one of those up to the clip's next frame."
    )
    reverse: float = share(0.0, "Share of training clips that are played backwards.")


@dataclass
class AugmentConfig(Section, path="data.augment"):
    """Augmentation of training clips; every draw applies to all frames of a clip."""

    crop: str = choice(
        "square",
        "short_side",
        "random_resized",
        "multi_scale",
        help="Rule for the crop of training clips, which is resized to data.clip.size afterwards.",
    )
    scale: tuple[float, float] = between(
        (0.8, 1.0),
        "For crop=square: bounds of the side, as shares of the resized short side; (1, 1): the whole.",
        most=1,
    )
    short_side: tuple[int, int] = between(
        (256, 320),
        "For crop=short_side: bounds of the short side that frames are resized to, instead of data.clip.resize, before "
        "a square of data.clip.size pixels is cropped anywhere.",
        most=10**5,
        unit="pixels",
    )
    crop_area: tuple[float, float] = between(
        (0.08, 1.0), "For crop=random_resized: bounds of the area, as shares of the resized frame.", most=1
    )
    crop_aspect: tuple[float, float] = between(
        (0.75, 4 / 3), "For crop=random_resized: bounds of the ratio of width to height.", most=100
    )
    crop_scales: tuple[float, ...] = anything(
        (1.0, 0.875, 0.75, 0.66),
        "For crop=multi_scale: possible sides, as shares of the short side.",
        check=falling_shares,
    )
    crop_gap: int = at_least(
        0, 1, "For crop=multi_scale: largest distance in crop_scales between width and height; 0: squares."
    )
    crop_positions: int = one_of(
        13,
        (0, 5, 13),
        "For crop=multi_scale: number of positions: 5 (corners, centre), 13 (also those between), or 0 (anywhere).",
        what="must be 5, 13, or 0 (anywhere)",
    )
    flip: bool | None = anything(
        None,
        "Whether half of the clips are mirrored; None: yes, unless the classes tell left from right and "
        "task.classify.flip_pairs is empty. If they do, labels known to be swapped by mirroring are swapped.",
    )
    colour_jitter: float = share(0.0, "Strength of random brightness, contrast and saturation.")
    hue: float = share(0.0, "Largest random turn of hues, as a share of the colour circle.", most=0.5)
    jittered: float = share(1.0, "Probability that colour_jitter and hue are applied to a clip.")
    greyscale: float = share(0.0, "Probability that a clip is turned to greyscale.")
    randaugment_m: float = share(0.0, "Magnitude of RandAugment; 0: none.", most=10)
    randaugment_n: int = at_least(1, 2, "Operations of RandAugment per clip, each applied with probability 0.5.")
    randaugment_mstd: float = at_least(
        0, 0.5, "Standard deviation of RandAugment's magnitude; above 100: uniform between 0 and the magnitude."
    )
    randaugment_inc: bool = anything(
        True, "Whether a higher magnitude of RandAugment means a stronger change in every operation."
    )
    augmix_m: float = share(0.0, "Largest magnitude of AugMix; 0: none.", most=10)
    augmix_width: int = at_least(1, 3, "Chains of operations of AugMix.")
    augmix_depth: int = at_least(0, 0, "Operations in each chain of AugMix; 0: 1, 2 or 3.")
    augmix_alpha: float = positive(1.0, "Parameter of AugMix's Dirichlet and Beta distributions.")
    erase: float = share(0.0, "Probability that a box of a clip is erased.")
    erase_mode: str = choice("pixel", "const", help="Content of an erased box: noise (pixel) or mean colour (const).")
    erase_area: tuple[float, float] = between(
        (0.02, 1 / 3), "Bounds of the erased area, as shares of the picture.", most=1
    )
    erase_aspect: tuple[float, float] = between(
        (0.3, 1 / 0.3), "Bounds of the erased box's ratio of height to width.", most=100
    )


@dataclass
class ReadingConfig(Section, path="data.reading"):
    """Processes and threads that read videos; none of these settings changes the data."""

    num_workers: int = at_least(0, 0, "Decoding processes per training process; 0: threads of the training process.")
    num_threads: int = at_least(1, 4, "Decoding threads per process.")
    prefetch: int = at_least(1, 4, "Batches kept ready per process.")
    timeout: float = positive(60.0, "Time after which a stalled decoder is killed.", unit="seconds")
    isolate: bool = anything(
        True,
        "Whether videos are decoded in separate processes, one per decoding thread, which can be killed and may crash.",
    )
    max_memory: float = positive(4.0, "Memory that decoding one video may take, if isolated.", unit="GiB")
    patience: float = at_least(
        0, 0.0, "Time after which decoding one video gives way to other work on the machine, if isolated; 0: never.",
        unit="seconds", meaning="never",
    )  # fmt: skip
    max_pixels: int = at_least(
        1, 1 << 36, "Most pixels decoded at a time for one example: width × height × distinct frames.", unit="pixels"
    )

    @property
    def sound_limits(self) -> dict[str, Any]:
        """Arguments that open a sound track with these limits."""
        limits: dict[str, Any] = {"timeout": self.timeout, "isolate": self.isolate}
        if self.isolate:
            limits |= {"max_memory": int(self.max_memory * 2**30), "patience": self.patience or None}
        return limits

    @property
    def limits(self) -> dict[str, Any]:
        """Arguments that open a video with these limits."""
        return self.sound_limits | {"max_pixels": self.max_pixels}


@dataclass
class FeaturesConfig(Section, path="data.features"):
    """Files of features computed beforehand, one per video, for networks that read these instead of videos.

    Files written by `vidjax features` state their stride, window, rate and model, and are refused if settings differ.
    """

    folder: str = anything(
        "",
        "Folder of the features, or one HDF5 file: the features of a video are found by its file name without suffix. "
        "Empty: the data lists the files of features themselves.",
    )
    width: int = at_least(0, 0, "Numbers per vector (D); 0: the model's.", meaning="the model's own")
    steps: int = at_least(0, 0, "Most vectors of a clip (T); 0: the model's.", meaning="the model's own")
    stride: float = at_least(
        0, 0.0, "Distance between neighbouring vectors; 0: as the files state.", unit="frames", meaning="the files' own"
    )
    window: float = at_least(
        0, 0.0, "Frames that a vector is computed from; 0: as the files state.", unit="frames",
        meaning="the files' own",
    )  # fmt: skip
    fps: float = at_least(
        0, 0.0, "Frame rate at which the features were computed; 0: as the files, or else the annotations, state.",
        unit="frames per second", meaning="the files' own",
    )  # fmt: skip
    model: str = anything(
        "", "Fingerprint of the network that computed the features, see `vidjax features`; empty: as the files state."
    )
    crop: tuple[float, float] = between(
        (1.0, 1.0), "Bounds of the share of a video's features that a training clip takes, at most `steps`.", most=1
    )
    keep: float = above_zero(
        0.5, "Share of a segment that must lie inside a training clip; a segment with less is left out."
    )


@dataclass
class DataConfig(Section, path="data"):
    """Sources of videos."""

    train: str = anything(
        "",
        "Training videos: a CSV file (path,label[,split,group]), a folder with one sub-folder per class, the folder of "
        "a prepared data set, or tfds:NAME[/CONFIG][:VERSION]. If there are splits, rows marked val or test are not "
        "used for training; except for folders, a suffix @SPLIT selects the rows of one split instead, @all every row. "
        "Several sources are joined by commas; classes of the same name are the same class.",
    )
    eval: str = anything(
        "",
        "Evaluation videos, given as in data.train (it may be the same file); rows marked train are not used. "
        "Empty: the rows of data.train that are marked val or test, or a held-out share of it.",
    )
    mixture: tuple[float, ...] = anything(
        (),
        "Weight of each source of data.train: its share of the clips; (): every video of every source once per epoch. "
        "In any case an epoch has as many clips as there are training videos.",
        check=weights,
    )
    quarantine: str = anything(
        "",
        "Videos to exclude: the CSV of `vidjax check`, any CSV with a column path, a bad_records.jsonl, or the work "
        "directory that contains it; several are joined by commas. These videos are not used for training, and count "
        "as unreadable in evaluation.",
    )
    root: str = anything(
        "", "Base folder of relative paths in CSV files; empty: the file's own folder. For tfds: its data_dir."
    )
    dataset: str = choice(
        "",
        *DATASETS,
        help="Published data set: data.train and data.eval are its annotation files or their folder, labels are its "
        "classes in its order, and videos not found below data.root are skipped.",
    )
    split: int = at_least(1, 1, "Number of the official split, if the data set has several (UCF-101, HMDB-51: 1…3).")
    folder_fps: float = at_least(
        0, 0.0, "Frame rate of videos stored as folders of images; 0: the data set's, or else 25.",
        unit="frames per second", meaning="the data set's, or else 25",
    )  # fmt: skip
    one_class: bool = anything(
        False,
        "Whether all classes count as one, called any, for networks that find segments of anything and leave the class "
        "to another network.",
    )
    synthetic: str = choice(
        "",
        *SYNTHETIC,
        help="Data set to generate in the folder of data.train, unless it exists: shapes that move alike (motion), for "
        "a while each in long videos (long), each in its own way, with boxes (people), or each in its own way, with "
        "sentences, questions, boxes and masks (scenes); with tones that have a class "
        "of their own (sound_joint), share one with the motion (sound_agree), or clicks at its turns (sound_turns); or "
        "pairs of pictures of shapes with true flow (flow).",
    )
    flow: str = choice(
        "",
        *FLOWS,
        help="Optical flow of model.input=flow or rgb+flow: its algorithm, or folder for fields computed beforehand, "
        "stored as pictures; empty: the model's, or dis_fast.",
    )
    flow_fields: int = at_least(
        0, 0, "Fields of flow per frame of a clip (L), 2 channels each; 0: the model's, or 1.", meaning="the model's"
    )
    flow_bound: float = at_least(
        0, 0.0, "Largest motion of a field; faster motion is clipped; 0: the model's, or 20.", unit="pixels",
        meaning="the model's",
    )  # fmt: skip
    flow_folder: str = anything(
        "",
        "For data.flow=folder: folder of the folders of fields, one per video, named like it without suffix, as "
        "denseflow, TSN and mmaction2 write them; empty: the data lists these folders themselves.",
    )
    flow_weights: str = anything(
        "",
        "Checkpoint of data.flow=raft_small or raft_large, torchvision's or the original repository's; a run's own "
        "checkpoints hold these weights, too.",
    )
    eval_share: float = strictly_between(
        0.2, "Share of videos held out, in whole groups, if there is neither data.eval nor a split column."
    )
    train_share: float = above_zero(
        1.0,
        "Share of each class's training videos to use; only the seed decides which, so that runs can be compared. A "
        "smaller share is part of a larger one.",
        whole="all of them",
    )

    clip: ClipConfig = field(default_factory=ClipConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    sound: SoundConfig = field(default_factory=SoundConfig)
    pairs: PairConfig = field(default_factory=PairConfig)
    text: TextConfig = field(default_factory=TextConfig)
    reading: ReadingConfig = field(default_factory=ReadingConfig)


def mirrors(augment: AugmentConfig, flip_pairs: Sequence[str], directional: bool) -> bool:
    """Whether half of the training clips are mirrored.

    Args:
      augment: settings of augmentation, of which `flip` is used.
      flip_pairs: pairs of classes that mirroring swaps, as in `ClassifyConfig`.
      directional: whether the classes tell left from right.
    """
    return augment.flip if augment.flip is not None else not directional or bool(flip_pairs)


def short_video_rule(sampling: SamplingConfig, rule: str) -> str:
    """Short-video rule that `sampling.short_video` selects for a sampling rule: loop, hold or spread."""
    return SAMPLING_RULES[rule][0] if sampling.short_video == "auto" else sampling.short_video


def apply_preset(config: DataConfig) -> DataConfig:
    """Copy of `config` in which fields at their defaults have the values of its preset."""
    standard, preset, changed = DataConfig(), PRESETS.get(config.clip.preset, {}), {}
    for name, values in preset.items():
        own, default = getattr(config, name), getattr(standard, name)
        changed[name] = replace(own, **{f: v for f, v in values.items() if getattr(own, f) == getattr(default, f)})
    return replace(config, **changed)
