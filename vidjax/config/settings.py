"""Every setting there is, as typed dataclasses: one experiment is one `Config`.

A config file (`configs/x.py`) has a `get_config()` that returns a `Config`; the command line overrides single fields
with `--config.optimizer.learning_rate=0.1`. The config in use is written beside every run and inside every checkpoint.
This module imports nothing heavy, so that data workers and `--help` stay light.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vidjax.config.choices import (
    DATASETS,
    INPUTS,
    PRESETS,
    PROBES,
    REMAT,
    SAMPLING_RULES,
)
from vidjax.config.section import Section


def _choice(default: str, *others: str) -> Any:
    """A string field that takes one of a few values, the first being the default."""
    return field(default=default, metadata={"choices": tuple(dict.fromkeys((default, *others)))})


@dataclass
class ModelConfig(Section, path="model"):
    name: str = "r2plus1d_18"  # see vidjax.list_models()
    init_from: str = ""  # checkpoint to start from: a file of another framework, or a vidjax checkpoint directory
    inflation: str = _choice("", "average", "central")  # how an image network's kernels get a temporal extent: in every
    # frame, divided by their number, or in the middle frame alone; empty: as the model's paper does
    input: str = _choice(
        *INPUTS
    )  # rgb: frames; diff: each frame less the one before, after normalisation, the first 0;
    # rgb+diff: both side by side, 6 channels. Weights for rgb start rgb+diff with zeros for the differences
    dropout: float = -1.0  # probability before the classifier; -1: the model's own
    drop_path: float = -1.0  # probability of skipping a residual branch in the deepest block; -1: the model's own
    compute_dtype: str = _choice("auto", "float32", "bfloat16")  # auto: bfloat16 on GPU and TPU, float32 on CPU
    param_dtype: str = _choice("float32", "bfloat16")  # what a run keeps its parameters in. Gradients and updates are
    # float32 in any case, and their sum with a bfloat16 parameter is rounded up or down at random, so that small
    # updates are not lost; the moving average stays float32
    probe: str = _choice("", *PROBES)  # train a new classifier alone, on the features of a network that stays as
    # `init_from` has it: linear: one layer; attentive: one layer on what a learned query gathers from all tokens (of a
    # convolutional network, places of the last map). `dropout` is then the classifier's
    probe_norm: bool = False  # linear: features are standardised first, as MAE does
    probe_blocks: int = 1  # attentive: Transformer blocks, the query's own included; V-JEPA 2: 4
    probe_heads: int = 0  # attentive: attention heads; 0: 16, or as many of them as divide the features
    remat: str = _choice(*REMAT)  # what a block keeps for the backward pass, the rest being computed again: "":
    # everything; dots: results of layers; attention: those of attention; full: its input. See vidjax/nn/remat.py
    scan_blocks: bool = False  # Transformers: blocks that are alike are compiled once, as a loop over them
    kwargs: dict[str, Any] = field(default_factory=dict)  # further arguments of the model's constructor


@dataclass
class ClipConfig(Section, path="data.clip"):
    num_frames: int = 0  # T, frames per clip; 0: the model's
    stride: int = 0  # τ, source frames between two of a clip; 0: the model's
    fps: float = 0.0  # sample at this rate instead of a stride; 0: the model's
    size: int = 0  # crop, pixels; 0: the model's
    resize: tuple[int, ...] = ()  # (short side,) or (height, width) before the crop, pixels; (): the model's
    resize_rule: str = _choice("opencv", "torchvision")  # torchvision: to the bit what that makes of pixels, several
    # times slower
    mean: tuple[float, ...] = ()  # per channel, subtracted from values in 0…1; (): the model's
    std: tuple[float, ...] = ()  # per channel, divided by; (): the model's
    preset: str = _choice("", *PRESETS)  # another project's transform: sets those fields here and of `augment` that are
    # at their defaults


@dataclass
class SamplingConfig(Section, path="data.sampling"):
    train: str = _choice("random", *SAMPLING_RULES)  # which frames a training clip takes
    eval: str = _choice("multi_clip", *SAMPLING_RULES)  # multi_clip: windows spread to both ends; sliding_window and
    # all: the whole video, in as many clips as that takes
    hop: int = 0  # source frames from one clip of sliding_window to the next; 0: no gap and no overlap
    short_video: str = _choice("auto", "loop", "hold", "spread")  # a video shorter than a clip: again from the start,
    # the last frame held, or its frames spread over the clip; auto: as the published rule does, or else loop
    views: int = 1  # training clips per video in a batch, each with draws of its own; the video is read once for all
    speed: tuple[float, float] = (1.0, 1.0)  # a training clip runs so many times faster, log-uniformly drawn
    temporal_jitter: bool = False  # each frame is a random one of those up to the next frame of the clip
    reverse: float = 0.0  # share of the clips played backwards


@dataclass
class AugmentConfig(Section, path="data.augment"):
    # Training clips. Every draw holds for all frames of a clip.
    crop: str = _choice("square", "short_side", "random_resized", "multi_scale")  # resized to `clip.size` afterwards
    scale: tuple[float, float] = (0.8, 1.0)  # square: side as a share of the resized short side; (1, 1): all of it
    short_side: tuple[int, int] = (256, 320)  # short_side: frames are resized to one of these instead of `clip.resize`,
    # pixels, and `clip.size` pixels are cut out anywhere
    crop_area: tuple[float, float] = (0.08, 1.0)  # random_resized: share of the resized frame
    crop_aspect: tuple[float, float] = (0.75, 4 / 3)  # random_resized: width to height
    crop_scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)  # multi_scale: sides as shares of the short side
    crop_gap: int = 1  # multi_scale: how far apart in that list width and height may be; 0: squares
    crop_positions: int = 13  # multi_scale: 5 (corners, centre), 13 (and those between), or 0: anywhere
    flip: bool | None = None  # mirror half of the clips; None: unless classes tell left from right and
    # `task.classify.flip_pairs` is empty. Where they do, the labels that mirroring swaps are swapped, as far as known
    colour_jitter: float = 0.0  # strength of random brightness, contrast and saturation, 0…1
    hue: float = 0.0  # the colour circle is turned by up to this share of it, 0…0.5
    jittered: float = 1.0  # share of the clips that these two change
    greyscale: float = 0.0  # share of the clips that lose their colours
    randaugment_m: float = 0.0  # > 0: RandAugment of this magnitude, up to 10
    randaugment_n: int = 2  # its operations per clip, each carried out with probability 0.5
    randaugment_mstd: float = 0.5  # deviation of the magnitude; above 100: uniform between 0 and m
    randaugment_inc: bool = True  # whether a higher magnitude is a stronger change with every operation
    augmix_m: float = 0.0  # > 0: AugMix with magnitudes up to this, up to 10
    augmix_width: int = 3  # its chains of operations
    augmix_depth: int = 0  # operations per chain; 0: 1, 2 or 3
    augmix_alpha: float = 1.0  # of its Dirichlet and Beta distributions
    erase: float = 0.0  # share of the clips of which a box is erased
    erase_mode: str = _choice("pixel", "const")  # noise, or the mean colour
    erase_area: tuple[float, float] = (0.02, 1 / 3)  # share of the picture
    erase_aspect: tuple[float, float] = (0.3, 1 / 0.3)  # height to width


@dataclass
class ReadingConfig(Section, path="data.reading"):
    num_workers: int = 0  # decoding processes per training process; 0: threads of the training process
    num_threads: int = 4  # decoding threads per process
    prefetch: int = 4  # batches kept ready per process
    timeout: float = 60.0  # seconds after which a stalled decoder is killed
    isolate: bool = True  # decode in processes of their own, one per decoding thread, that can be killed and may crash


@dataclass
class DataConfig(Section, path="data"):
    train: str = ""  # CSV file (path,label[,split,group]), folder with one sub-folder per class, folder of a prepared
    # data set, or tfds:NAME[/CONFIG][:VERSION]. Where there are splits, rows marked val or test do not train; @SPLIT
    # behind all but a folder takes the rows of one split instead, @all every row. Several of these are joined by
    # commas; a class is known by its name, so sources that have a name in common share the class
    eval: str = ""  # the same, of which rows marked train do not evaluate (it may be the file of `train`); empty: the
    # rows of `train` that are marked val or test, or a held-out share of it
    mixture: tuple[float, ...] = ()  # a weight for each source of `train`: the share of the clips that it gives; ():
    # every video of every source once per epoch. An epoch is as many clips as there are training videos in any case
    quarantine: str = ""  # videos to leave alone: the CSV of `vidjax check`, any CSV with the column path, a
    # bad_records.jsonl or the work directory that has it; several joined by commas. Not trained on; in evaluation
    # they count as unreadable
    root: str = ""  # folder that relative paths in the CSVs start from; empty: the CSV's own folder. tfds: its data_dir
    dataset: str = _choice("", *DATASETS)  # a published data set: `train` and `eval` are its annotation files or their
    # folder, labels are its classes in its order, and videos not found below `root` are left out
    split: int = 1  # which of the official splits, where `dataset` has several (UCF-101, HMDB-51: 1…3)
    folder_fps: float = 0.0  # frames per second of videos given as folders of images; 0: the data set's, or else 25
    synthetic: str = _choice("", "motion")  # write this generated data set to the folder of `train` if it is not there
    eval_share: float = 0.2  # share held out (whole groups) when there is neither `eval` nor a split column
    train_share: float = 1.0  # share of the training videos that is used, of each class; which ones, the seed decides
    # and nothing else, so that runs can be compared. A smaller share is part of a larger one

    clip: ClipConfig = field(default_factory=ClipConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    reading: ReadingConfig = field(default_factory=ReadingConfig)


@dataclass
class ClassifyConfig(Section, path="task.classify"):
    label_smoothing: float = 0.0  # share of the target spread over all classes
    mixup: float = 0.0  # > 0: clips of a batch are blended in pairs, with shares from Beta(mixup, mixup)
    cutmix: float = 0.0  # > 0: a box of one clip replaces that of another, with shares from Beta(cutmix, cutmix)
    mix_probability: float = 1.0  # that a batch is mixed
    cutmix_share: float = 0.5  # of the mixed batches, where both are on; the others get mixup
    mix_per_clip: bool = False  # draw for every clip of a batch anew
    balance: str = _choice("", "class", "sqrt")  # class: every class of a source gives as many clips as any other;
    # sqrt: in proportion to the square root of its videos. Within a class, every video before any comes again
    flip_pairs: tuple[str, ...] = ()  # classes that mirroring turns into each other: ("turn left<>turn right",); on the
    # command line "'turn left<>turn right','look left<>look right'"


@dataclass
class ReconstructConfig(Section, path="task.reconstruct"):
    """Nothing so far: what is hidden, and what is to be told of it, are arguments of the models."""


@dataclass
class TaskConfig(Section, path="task"):
    name: str = _choice("auto", "classify", "reconstruct")  # what the network learns: labels, or, without any, the
    # pixels that are hidden from it; auto: what the model is for. Another one is an error
    classify: ClassifyConfig = field(default_factory=ClassifyConfig)
    reconstruct: ReconstructConfig = field(default_factory=ReconstructConfig)


@dataclass
class OptimizerConfig(Section, path="optimizer"):
    name: str = _choice("sgd", "adamw")
    learning_rate: float = 0.01  # peak
    base_batch: int = 0  # > 0: learning_rate is meant for this batch size and scales linearly with the real one
    schedule: str = _choice("cosine", "constant", "steps")
    step_epochs: tuple[float, ...] = ()  # steps: after so many epochs each the rate falls …
    step_factor: float = 0.1  # … to this share of what it was
    warmup_epochs: float = 0.0  # linear rise from `warmup_factor`; half of the run, if that is not longer than this
    warmup_factor: float = 0.0  # learning rate at the start of the rise, as a share of the peak
    final_factor: float = 0.0  # learning rate at the end of the cosine, as a share of the peak
    momentum: float = 0.9  # SGD
    nesterov: bool = False  # SGD
    b1: float = 0.9  # AdamW
    b2: float = 0.999  # AdamW
    weight_decay: float = 1e-4  # not on norms, biases, tokens, positions; SGD: L2 term in the gradient; AdamW: apart
    state_dtype: str = _choice("float32", "bfloat16")  # what the momentum is kept in: SGD's, and AdamW's first moment.
    # AdamW's second moment stays float32: with b2 = 0.999 it changes by less than bfloat16 can tell, and would freeze
    offload: bool = False  # keep the optimiser's state in the host's memory, and on the devices during the update alone
    clip_norm: float = 0.0  # largest global gradient norm; 0: no clipping
    backbone_factor: float = 1.0  # all but the classifier learns at this share of the rate
    layer_decay: float = 1.0  # Transformers: a block's learning rate is this share of the next one's, so that
    # what was pre-trained changes the less the nearer it is to the pixels; the head has the whole. 1: the same for all


@dataclass
class TrainConfig(Section, path="train"):
    batch_size: int = 16  # videos per update, over all devices; each gives `data.sampling.views` clips
    epochs: float = 10.0  # passes over the training videos
    steps: int = 0  # updates; > 0: used instead of epochs
    accumulate: int = 1  # the batch is worked through in this many parts: less memory, the same update
    batch_norm: str = _choice("sync", "device", "precise")  # sync: statistics of the batch of all devices (of each part
    # of it, with `accumulate`); device: each device normalises its share of the batch with statistics of its own, so
    # that what is learned depends on their number, and running statistics follow the devices' mean; precise: sync, and
    # before every evaluation and checkpoint the statistics of the weights as they are then replace the running ones
    # (not in a checkpoint at SIGTERM, when time is short)
    precise_batches: int = 200  # precise: taken from so many training batches, at most an epoch's
    ema_decay: float = 0.0  # > 0: evaluate and keep an exponential moving average of the weights
    skip_bad_steps: int = 0  # an update whose loss or gradient is NaN or infinite is left out, up to so many in a row;
    # one more stops the run, as does the first with 0
    compilation_cache: str = ""  # folder that keeps compiled programs, so that the next start need not compile; empty:
    # none, unless the environment variable JAX_COMPILATION_CACHE_DIR names one
    log_every: int = 10  # updates between log lines
    eval_epochs: float = 1.0  # epochs between evaluations; 0: only at the end
    checkpoint_epochs: float = 1.0  # epochs between checkpoints; 0: only at the end
    keep_last: int = 2  # checkpoints kept besides the best one
    best_metric: str = ""  # of eval.json, higher is better; empty: video/top1, multi-label: video/mAP, task
    # reconstruct: reconstruction/explained


@dataclass
class EvalConfig(Section, path="eval"):
    num_clips: int = 1  # clips per video, spread evenly to both ends
    num_crops: int = 1  # crops per clip: 1 centre, 3 along the longer side, 5 corners and centre, 10 these mirrored too
    batch_size: int = 16  # videos per step, over all devices
    every: tuple[str, ...] = ()  # evaluators that run at every N-th evaluation of a training alone, and at the last:
    # ("pictures=5",). The one whose figures checkpoints are ranked by runs at each


@dataclass
class MeshConfig(Section, path="mesh"):
    # Devices along each axis; one of the three may be -1: all that the other two leave. The batch is split over
    # data × fsdp.
    data: int = -1  # these hold whole parameters
    fsdp: int = 1  # these hold a part of each large parameter, of its optimiser state and its moving average
    model: int = 1  # these share the work on each clip: features of dense layers, channels of convolutions
    tokens: bool = False  # Transformers in training: over `model` also the tokens between attention layers, for clips
    # whose activations are too large for one device


@dataclass
class Config(Section, path=""):
    seed: int = 0  # of weights, shuffling, augmentation and dropout
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)


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
        section, default = getattr(config, name), getattr(standard, name)
        untouched = {field: v for field, v in values.items() if getattr(section, field) == getattr(default, field)}
        changed[name] = replace(section, **untouched)
    return replace(config, **changed)
