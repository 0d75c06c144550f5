"""Every setting there is, as typed dataclasses: one experiment is one `Config`.

A config file (`configs/x.py`) has a `get_config()` that returns a `Config`; the command line overrides single fields
with `--config.optimizer.learning_rate=0.1`. The config in use is written beside every run and inside every checkpoint.
This module imports nothing heavy, so that data workers and `--help` stay light.
"""

from dataclasses import dataclass, field
from typing import Any

from vidjax.config.choices import INPUTS, PROBES, REMAT
from vidjax.config.data_settings import DataConfig
from vidjax.config.fields import (
    above_zero,
    anything,
    at_least,
    below_one,
    choice,
    devices,
    one_of,
    pairs,
    positive,
    share,
)
from vidjax.config.section import Section


@dataclass
class ModelConfig(Section, path="model"):
    """The network, what it starts from and how it is computed."""

    name: str = anything("r2plus1d_18", "Name of the network, one of `vidjax models`.")
    init_from: str = anything(
        "", "Checkpoint to start from: a file of another framework, or a folder of a vidjax run or checkpoint."
    )
    inflation: str = choice(
        "",
        "average",
        "central",
        help="How the kernels of an image network get a temporal extent: in every frame, divided by their number "
        "(average), or in the middle frame alone (central); empty: as the model's paper does.",
    )
    input: str = choice(
        *INPUTS,
        help="What enters the network: frames (rgb), each frame less the one before, after normalisation, the first 0 "
        "(diff), or both side by side in 6 channels (rgb+diff). Weights for rgb start rgb+diff with zeros for the "
        "differences.",
    )
    dropout: float = below_one(-1.0, "Probability of dropout before the classifier; -1: the model's own.", off=-1)
    drop_path: float = below_one(
        -1.0, "Probability of skipping a residual branch in the deepest block; -1: the model's own.", off=-1
    )
    compute_dtype: str = choice(
        "auto", "float32", "bfloat16", help="Precision of arithmetic; auto: bfloat16 on GPU and TPU, float32 on CPU."
    )
    param_dtype: str = choice(
        "float32",
        "bfloat16",
        help="What a run keeps its parameters in. Gradients and updates are float32 in any case, and their sum with a "
        "bfloat16 parameter is rounded up or down at random, so that small updates are not lost; the moving average "
        "stays float32.",
    )
    probe: str = choice(
        "",
        *PROBES,
        help="Train a new classifier alone, on the features of a network that stays as model.init_from has it: one "
        "layer (linear), or one layer on what a learned query gathers from all tokens, of a convolutional network the "
        "places of the last map (attentive). model.dropout is then the classifier's.",
    )
    probe_norm: bool = anything(
        False, "For probe=linear: whether features are standardised first, as in MAE's evaluations."
    )
    probe_blocks: int = at_least(
        1, 1, "For probe=attentive: Transformer blocks, the query's own included; V-JEPA 2 has 4."
    )
    probe_heads: int = at_least(
        0, 0, "For probe=attentive: attention heads; 0: 16, or as many of them as divide the features.",
        meaning="16, or as many as divide the features",
    )  # fmt: skip
    remat: str = choice(
        *REMAT,
        help="What a block keeps for the backward pass, the rest being computed again: everything (empty), results of "
        "layers (dots), those of attention (attention), or its input alone (full). See vidjax/nn/remat.py.",
    )
    scan_blocks: bool = anything(
        False, "For Transformers: whether blocks that are alike are compiled once, as a loop over them."
    )
    kwargs: dict[str, Any] = field(
        default_factory=dict,
        metadata={"help": "Further arguments of the model's constructor, as --config.model.kwargs.NAME=VALUE."},
    )


@dataclass
class ClassifyConfig(Section, path="task.classify"):
    """Training with labels."""

    label_smoothing: float = below_one(0.0, "Share of the target that is spread over all classes.")
    mixup: float = at_least(
        0, 0.0, "Clips of a batch are blended in pairs, with shares from Beta(mixup, mixup); 0: off.", meaning="off"
    )
    cutmix: float = at_least(
        0, 0.0, "A box of one clip replaces that of another, with shares from Beta(cutmix, cutmix); 0: off.",
        meaning="off",
    )  # fmt: skip
    mix_probability: float = share(1.0, "Probability that a batch is mixed.")
    cutmix_share: float = share(0.5, "Share of the mixed batches that get CutMix, where mixup is on too.")
    mix_per_clip: bool = anything(False, "Whether mixing is drawn for every clip of a batch anew.")
    balance: str = choice(
        "",
        "class",
        "sqrt",
        help="Which videos come how often: every class of a source gives as many clips as any other (class), or in "
        "proportion to the square root of its videos (sqrt). Within a class, every video before any comes again.",
    )
    flip_pairs: tuple[str, ...] = anything(
        (),
        "Classes that mirroring turns into each other: 'turn left<>turn right','look left<>look right'.",
        check=pairs,
    )


@dataclass
class ReconstructConfig(Section, path="task.reconstruct"):
    """Training without labels. What is hidden, and what is to be told of it, are arguments of the models."""


@dataclass
class TaskConfig(Section, path="task"):
    """What is learned."""

    name: str = choice(
        "auto",
        "classify",
        "reconstruct",
        help="What the network learns: labels (classify) or, without any, the pixels that are hidden from it "
        "(reconstruct); auto: what the model is for. Another one is an error.",
    )
    classify: ClassifyConfig = field(default_factory=ClassifyConfig)
    reconstruct: ReconstructConfig = field(default_factory=ReconstructConfig)


@dataclass
class OptimizerConfig(Section, path="optimizer"):
    """Learning rates and updates."""

    name: str = choice("sgd", "adamw", help="The optimiser.")
    learning_rate: float = positive(0.01, "Learning rate at its peak.")
    base_batch: int = at_least(
        0, 0, "Batch size that learning_rate is meant for, which scales linearly with the real one; 0: the real one.",
        unit="videos",
    )  # fmt: skip
    schedule: str = choice("cosine", "constant", "steps", help="How the learning rate goes on after the warm-up.")
    step_epochs: tuple[float, ...] = anything(
        (), "For schedule=steps: the times at which the learning rate falls.", unit="epochs"
    )
    step_factor: float = above_zero(0.1, "For schedule=steps: what each fall leaves of the learning rate, as a share.")
    warmup_epochs: float = at_least(
        0, 0.0, "Length of the linear rise from optimizer.warmup_factor; no longer than half of the run.", unit="epochs"
    )
    warmup_factor: float = share(0.0, "Learning rate at the start of the rise, as a share of the peak.")
    final_factor: float = anything(0.0, "Learning rate at the end of the cosine, as a share of the peak.")
    momentum: float = anything(0.9, "For SGD: momentum.")
    nesterov: bool = anything(False, "For SGD: whether the momentum is Nesterov's.")
    b1: float = anything(0.9, "For AdamW: decay of the first moment.")
    b2: float = anything(0.999, "For AdamW: decay of the second moment.")
    weight_decay: float = at_least(
        0,
        1e-4,
        "Weight decay, not of norms, biases, tokens and positions. SGD: an L2 term in the gradient; AdamW: apart.",
    )
    state_dtype: str = choice(
        "float32",
        "bfloat16",
        help="What the momentum is kept in: SGD's, and AdamW's first moment. AdamW's second moment stays float32: with "
        "b2 = 0.999 it changes by less than bfloat16 can tell, and would freeze.",
    )
    offload: bool = anything(
        False, "Whether the optimiser's state is kept in the host's memory, and on the devices during the update alone."
    )
    clip_norm: float = at_least(0, 0.0, "Largest norm of the whole gradient; 0: no clipping.")
    backbone_factor: float = above_zero(
        1.0, "Share of the learning rate at which all but the classifier learns.", whole="off"
    )
    layer_decay: float = above_zero(
        1.0,
        "For Transformers: a block's learning rate is this share of the next one's, so that what was pre-trained "
        "changes the less the nearer it is to the pixels; the head has the whole. 1: the same for all.",
        whole="off",
    )


@dataclass
class TrainConfig(Section, path="train"):
    """Length, batches and records of a training."""

    batch_size: int = at_least(
        1, 16, "Videos per update, over all devices; each gives data.sampling.views clips.", unit="videos"
    )
    epochs: float = anything(10.0, "Passes over the training videos.", unit="epochs")
    steps: int = anything(0, "Updates, instead of train.epochs; 0: those.", unit="updates")
    accumulate: int = at_least(
        1, 1, "Parts in which a batch is worked through, one after the other: less memory, the same update."
    )
    batch_norm: str = choice(
        "sync",
        "device",
        "precise",
        help="Statistics of batch normalisation. sync: of the batch of all devices (of each part of it, with "
        "train.accumulate); device: each device normalises its share of the batch with statistics of its own, so that "
        "what is learned depends on their number, and running statistics follow the devices' mean; precise: sync, and "
        "before every evaluation and checkpoint the statistics of the weights as they are then replace the running "
        "ones (not in a checkpoint at SIGTERM, when time is short).",
    )
    precise_batches: int = at_least(
        1, 200, "For batch_norm=precise: training batches that statistics are taken from, at most an epoch's."
    )
    ema_decay: float = below_one(
        0.0, "Decay of an exponential moving average of the weights, which is evaluated and kept; 0: none."
    )
    skip_bad_steps: int = at_least(
        0,
        0,
        "Updates in a row that may be left out because their loss or gradient is NaN or infinite; one more stops the "
        "run. 0: the first stops it.",
        meaning="stop at the first",
    )
    compilation_cache: str = anything(
        "",
        "Folder that keeps compiled programs, so that the next start need not compile; empty: none, unless the "
        "environment variable JAX_COMPILATION_CACHE_DIR names one.",
    )
    log_every: int = at_least(1, 10, "Distance of two log lines.", unit="updates")
    eval_epochs: float = anything(1.0, "Distance of two evaluations; 0: only at the end.", unit="epochs")
    checkpoint_epochs: float = anything(1.0, "Distance of two checkpoints; 0: only at the end.", unit="epochs")
    keep_last: int = at_least(1, 2, "Checkpoints kept besides the best one.")
    best_metric: str = anything(
        "",
        "Figure of eval.json by which the best checkpoint is chosen, higher being better; empty: video/top1, with "
        "several labels per video video/mAP, without labels reconstruction/explained.",
        check=lambda name: (
            ""
            if not name or "/" in name
            else "give LEVEL/NAME of eval.json, such as video/top1 or reconstruction/explained"
        ),
    )


@dataclass
class EvalConfig(Section, path="eval"):
    """Views of evaluation."""

    num_clips: int = at_least(1, 1, "Clips per video, spread evenly to both ends.")
    num_crops: int = one_of(
        1,
        (1, 3, 5, 10),
        "Crops per clip: 1: the centre; 3 along the longer side; 5: corners and centre; 10: these mirrored too.",
        what="must be 1, 3, 5 or 10",
    )
    batch_size: int = at_least(1, 16, "Videos per step, over all devices.", unit="videos")
    every: tuple[str, ...] = anything(
        (),
        "Evaluators that run at every N-th evaluation of a training only, and at the last, such as pictures=5. The one "
        "whose figures checkpoints are ranked by always runs.",
    )


@dataclass
class MeshConfig(Section, path="mesh"):
    """Devices along each axis; one of data, fsdp and model may be -1: all that the other two leave. A batch is split
    over data × fsdp."""

    data: int = devices(-1, "Devices that hold whole parameters.")
    fsdp: int = devices(
        1, "Devices that hold a part of each large parameter, of its optimiser state and its moving average."
    )
    model: int = devices(
        1, "Devices that share the work on each clip: features of dense layers, channels of convolutions."
    )
    tokens: bool = anything(
        False,
        "For Transformers in training: whether mesh.model also splits the tokens between attention layers, for clips "
        "whose activations are too large for one device.",
    )


@dataclass
class Config(Section, path=""):
    """One experiment."""

    seed: int = anything(0, "Seed of weights, shuffling, augmentation and dropout.")
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
