"""All settings as typed dataclasses: one experiment is one `Config`.

A config file (`configs/x.py`) has a `get_config()` that returns a `Config`; the command line overrides single fields
with `--config.optimizer.learning_rate=0.1`. The config in use is written beside every run and inside every checkpoint.
This module imports nothing heavy, so that data workers and `--help` stay light.
"""

from dataclasses import dataclass, field
from typing import Any

from vidjax.config.caption_settings import CaptionConfig
from vidjax.config.choices import INPUTS, PROBES, PROTOCOLS, REMAT, SUPPRESSIONS, TIOUS, VOTES
from vidjax.config.data_settings import DataConfig
from vidjax.config.detect_settings import DetectConfig
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
from vidjax.config.optical_flow_settings import OpticalFlowConfig
from vidjax.config.retrieve_settings import RetrieveConfig
from vidjax.config.section import Section
from vidjax.config.train_settings import TrainConfig


@dataclass
class ModelConfig(Section, path="model"):
    """The network, its initial weights and its computation."""

    name: str = anything("r2plus1d_18", "Name of the network, one of `vidjax models`.")
    init_from: str = anything(
        "",
        "Checkpoint to start from: a file of another framework, the folder of a vidjax run or checkpoint, or the name "
        "of an extra with trained networks: imagenet (EfficientNet-Lite, for models *_effnet_lite0, 1 and 2) or "
        "kinetics (Inception I3D trained on Kinetics-400, for i3d_inception_rgb).",
    )
    inflation: str = choice(
        "",
        "average",
        "central",
        help="Inflation of an image network's kernels over time: repeated in every frame and divided by the number of "
        "frames (average), or only in the middle frame (central); empty: as in the model's paper.",
    )
    input: str = choice(
        *INPUTS,
        help="Input of the network: frames (rgb), differences of consecutive normalised frames, the first being 0 "
        "(diff), both concatenated in 6 channels (rgb+diff), optical flow (flow), or frames and flow (rgb+flow), see "
        "data.flow. Weights for rgb initialise rgb+diff with zeros for the differences, and channels of flow with the "
        "mean of the colours. A network made for flow always has it: leave this at rgb.",
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
        help="Type in which parameters are kept. Gradients and updates are float32 in any case, and the sum with a "
        "bfloat16 parameter is rounded up or down at random, so that small updates are not lost; the moving average "
        "stays float32.",
    )
    probe: str = choice(
        "",
        *PROBES,
        help="Train only a new classifier, on the frozen features of the network in model.init_from: one layer "
        "(linear), or one layer after attention pooling with a learned query over all tokens, or over all positions of "
        "a convolutional network's last map (attentive). model.dropout is then the classifier's.",
    )
    probe_norm: bool = anything(
        False, "For probe=linear: whether to standardise features first, as in MAE's evaluations."
    )
    probe_layer: str = anything(
        "",
        "For probe=linear: path of an inner layer, as `vidjax models NAME` lists it, whose output is read, averaged "
        "over its places; later layers are not computed, so that it is an early exit of the network, for cascades.",
    )
    exits: tuple[str, ...] = anything(
        (),
        "Paths of inner layers, as `vidjax models NAME` lists them, in the order in which they run, that get a linear "
        "classifier of their output's mean each, beside the network's own: early exits, for cascades.",
    )
    exit_weight: float = above_zero(1.0, "For exits: weight of each one's loss beside that of the end.")
    probe_blocks: int = at_least(
        1, 1, "For probe=attentive: Transformer blocks, including the query's; V-JEPA 2 has 4."
    )
    probe_heads: int = at_least(
        0, 0, "For probe=attentive: attention heads; 0: 16, or as many of these as divide the features.",
        meaning="16, or as many as divide the features",
    )  # fmt: skip
    frozen: tuple[str, ...] = anything(
        (),
        "Parts of the network that training does not change, by the beginnings of their paths in the checkpoint, such "
        "as vision and head of a language model, so that its projector alone is trained.",
    )
    lora_rank: int = at_least(
        0,
        0,
        "Rank of the low-rank matrices that are trained beside every linear layer (LoRA), with the classifier; all "
        "else stays as it is, in evaluation mode. What is loaded from the run is an ordinary network.",
        meaning="ordinary training",
    )
    lora_alpha: float = at_least(
        0, 0.0, "For lora_rank: α, whose share α / rank multiplies the low-rank products.", meaning="twice the rank"
    )
    lora_layers: tuple[str, ...] = anything(
        (), "For lora_rank: names in the paths of the linear layers to adapt, such as attn or q; empty: all of them."
    )
    lora_whole: tuple[str, ...] = anything(
        (),
        "For lora_rank: parts that are trained whole, such as the projector of a language model; empty: the "
        "classifier, if the network has one.",
    )
    lora_from: str = anything(
        "",
        "For lora_rank: folder of low-rank pairs as peft writes them, from which those of a new run start; empty: they "
        "begin as nothing.",
    )
    remat: str = choice(
        *REMAT,
        help="Values that a block keeps for the backward pass, recomputing the rest: everything (empty), outputs of "
        "layers (dots), those of attention (attention), or only its input (full). See vidjax/nn/remat.py.",
    )
    scan_blocks: bool = anything(False, "For Transformers: whether equal blocks are compiled once, as a loop.")
    kwargs: dict[str, Any] = field(
        default_factory=dict,
        metadata={"help": "Further arguments of the model's constructor, as --config.model.kwargs.NAME=VALUE."},
    )


@dataclass
class ClassifyConfig(Section, path="task.classify"):
    """Training with labels."""

    label_smoothing: float = below_one(0.0, "Share of the target that is spread over all classes.")
    loss: str = choice(
        "cross_entropy",
        "focal",
        "asymmetric",
        help="Loss; with several labels per video it is the mean over the classes. focal: easy examples count less; "
        "asymmetric: above all easy negatives, for several labels per video.",
    )
    focal_gamma: float = at_least(0, 2.0, "For loss=focal: exponent γ of the weight (1 - p)^γ; 0: cross-entropy.")
    focal_alpha: float = anything(
        0.25,
        "For loss=focal with several labels: weight of positives, and 1 minus it that of negatives; -1: 1 for both.",
        check=lambda value: "" if value == -1 or 0 <= value <= 1 else "must lie in 0…1, or be -1",
    )
    asymmetric_positive: float = at_least(0, 1.0, "For loss=asymmetric: exponent of the weight of positives.")
    asymmetric_negative: float = at_least(0, 4.0, "For loss=asymmetric: exponent of the weight of negatives.")
    asymmetric_margin: float = below_one(
        0.05, "For loss=asymmetric: probability below which negatives count nothing; it is taken from all of them."
    )
    class_beta: float = below_one(
        0.0,
        "Weight of rare classes: each class weighs the inverse of its effective number of training videos, "
        "(1 - β^n) / (1 - β), such as β = 0.999; 0: all classes weigh the same.",
    )
    positive_weight: float = at_least(
        0, 1.0, "For several labels: weight of positives; 0: the number of negative training videos of each class "
        "divided by that of its positive ones.", meaning="negatives divided by positives",
    )  # fmt: skip
    prior: float = below_one(
        0.0, "For several labels: first probability of every class, such as 0.01, set by the classifier's bias; 0: the "
        "model's own bias."
    )  # fmt: skip
    mixup: float = at_least(
        0, 0.0, "Parameter of mixup: clips of a batch are blended in pairs, with shares from Beta(mixup, mixup); 0: "
        "off.", meaning="off",
    )  # fmt: skip
    cutmix: float = at_least(
        0, 0.0, "Parameter of CutMix: a box of one clip replaces that of another, with shares from Beta(cutmix, "
        "cutmix); 0: off.", meaning="off",
    )  # fmt: skip
    mix_probability: float = share(1.0, "Probability that a batch is mixed.")
    cutmix_share: float = share(0.5, "Share of mixed batches that get CutMix, if mixup is on too.")
    mix_per_clip: bool = anything(False, "Whether mixing is drawn anew for every clip of a batch.")
    balance: str = choice(
        "",
        "class",
        "sqrt",
        help="Balance of classes: every class of a source gives equally many clips (class), or in proportion to the "
        "square root of its number of videos (sqrt). Within a class, no video is repeated before all have been used.",
    )
    flip_pairs: tuple[str, ...] = anything(
        (),
        "Pairs of classes that mirroring swaps, such as 'turn left<>turn right','look left<>look right'.",
        check=pairs,
    )


@dataclass
class ReconstructConfig(Section, path="task.reconstruct"):
    """Training without labels. Masks and the pixels to predict are set by arguments of the models."""


@dataclass
class LocaliseConfig(Section, path="task.localise"):
    """Finding the segments of actions in long videos."""

    evaluated = (
        "protocol", "thresholds", "also", "min_score", "candidates", "min_length", "suppression", "sigma", "iou",
        "per_class", "voting", "votes", "detections", "video_scores", "video_join",
    )  # fmt: skip

    protocol: str = choice(
        *PROTOCOLS,
        help="Rule for duplicate and very short segments in the annotations: counted (official), removed as in "
        "ActionFormer's evaluation (actionformer), or removed as in OpenTAD's (opentad).",
    )
    thresholds: str = choice(
        *TIOUS,
        help="Temporal IoUs whose mean AP is the mAP: 0.3, 0.4 … 0.7 (thumos), 0.5, 0.55 … 0.95 (activitynet), "
        "0.1, 0.2 … 0.5 (epic) or 0.1, 0.2 … 0.9 (multithumos).",
    )
    also: tuple[str, ...] = anything(
        (),
        "Further sets of thresholds to report.",
        check=lambda names: "" if set(names) <= set(TIOUS) else f"must be some of {', '.join(TIOUS)}",
    )
    max_segments: int = at_least(1, 256, "Most segments of one training clip; more are an error.")
    shortest: float = share(
        0.0, "Share of a training clip's length that a segment must exceed to be learned; 0: any may be."
    )
    min_score: float = at_least(0, 0.001, "Lowest score of a detection, before and in suppression.")
    candidates: int = at_least(1, 2000, "Best detections of each level of a clip before suppression.")
    min_length: float = at_least(0, 0.05, "Shortest detection.", unit="steps of the features")
    suppression: str = choice(
        "auto",
        *SUPPRESSIONS,
        help="Effect on detections that overlap better ones: their scores are lowered (gaussian), or lowered from an "
        "overlap that is smaller for short ones (width, as in BMN's code), or they are dropped (hard); auto: as the "
        "network's source does, width for BMN and gaussian for all others.",
    )
    sigma: float = at_least(
        0, 0.0, "Width of the Gaussian of soft suppression; 0: 0.5, or for suppression=width 0.4, as in BMN's code."
    )
    iou: float = share(0.0, "For suppression=hard: IoU from which detections are dropped.")
    per_class: bool = anything(True, "Whether detections only suppress others of their class.")
    voting: float = share(
        0.0, "Least IoU of the detections whose mean refines a kept one; needs per_class=false; 0: no voting."
    )
    votes: str = choice(
        "auto",
        *VOTES,
        help="Weights in voting: scores times IoU (overlap), or scores alone (score, as in TriDet's code); auto: as in "
        "the network's source, score for TriDet and overlap for all others.",
    )
    detections: int = at_least(1, 200, "Most detections of a video.")
    video_scores: str = anything(
        "",
        'JSON file {"class": [name, …], "results": {video: [score of each class, …]}} of another network: in the '
        "segments.json of an evaluation, every segment gets the 2 best classes of its video. Empty: the network's own.",
    )
    video_join: str = choice(
        "root",
        "product",
        help="With video_scores, the new score of a segment: the product of its own and of the class's score (product, "
        "as OpenTAD joins CUHK's), or the root of it (root, as ActionFormer does, and OpenTAD with other files).",
    )


@dataclass
class TaskConfig(Section, path="task"):
    """The task to learn."""

    name: str = choice(
        "auto",
        "classify",
        "detect",
        "reconstruct",
        "localise",
        "retrieve",
        "caption",
        "optical_flow",
        help="Task of the network: labels (classify), labels of boxes (detect), segments of long videos (localise), "
        "captions (retrieve), sentences and answers (caption), the motion of every pixel (optical_flow) or, without "
        "labels, hidden pixels (reconstruct); auto: the task the model is made for. Any other is an error.",
    )
    classify: ClassifyConfig = field(default_factory=ClassifyConfig)
    detect: DetectConfig = field(default_factory=DetectConfig)
    reconstruct: ReconstructConfig = field(default_factory=ReconstructConfig)
    localise: LocaliseConfig = field(default_factory=LocaliseConfig)
    retrieve: RetrieveConfig = field(default_factory=RetrieveConfig)
    caption: CaptionConfig = field(default_factory=CaptionConfig)
    optical_flow: OpticalFlowConfig = field(default_factory=OpticalFlowConfig)


@dataclass
class OptimizerConfig(Section, path="optimizer"):
    """Optimiser, learning rates and updates."""

    name: str = choice("sgd", "adamw", help="Optimiser.")
    learning_rate: float = positive(0.01, "Peak learning rate.")
    base_batch: int = at_least(
        0, 0, "Batch size for which learning_rate is given; it scales linearly to the actual one; 0: no scaling.",
        unit="videos",
    )  # fmt: skip
    schedule: str = choice(
        "cosine", "linear", "constant", "steps", help="Course of the learning rate after the warm-up."
    )
    step_epochs: tuple[float, ...] = anything(
        (), "For schedule=steps: times at which the learning rate drops.", unit="epochs"
    )
    step_factor: float = above_zero(0.1, "For schedule=steps: factor of the learning rate at each drop.")
    warmup_epochs: float = at_least(
        0, 0.0, "Length of the linear warm-up; if it would fill the run, half of the run is used.", unit="epochs"
    )
    warmup_factor: float = share(0.0, "Learning rate at the start of the warm-up, as a share of the peak.")
    final_factor: float = anything(0.0, "Learning rate at the end of the cosine or the line, as a share of the peak.")
    momentum: float = anything(0.9, "For SGD: momentum.")
    nesterov: bool = anything(False, "For SGD: whether to use Nesterov momentum.")
    b1: float = anything(0.9, "For AdamW: decay of the first moment.")
    b2: float = anything(0.999, "For AdamW: decay of the second moment.")
    weight_decay: float = at_least(
        0,
        1e-4,
        "Weight decay, not applied to norms, biases, tokens and positions. SGD: L2 penalty in the gradient; AdamW: "
        "decoupled.",
    )
    state_dtype: str = choice(
        "float32",
        "bfloat16",
        help="Type of SGD's momentum and AdamW's first moment. AdamW's second moment stays float32: with b2 = 0.999 "
        "its changes are too small for bfloat16, and it would freeze.",
    )
    offload: bool = anything(
        False, "Whether to keep the optimiser's state in the host's memory, and on the devices only during updates."
    )
    clip_norm: float = at_least(0, 0.0, "Largest norm of the whole gradient; 0: no clipping.")
    backbone_factor: float = above_zero(
        1.0,
        "Factor of the learning rate for everything but the classifier, the exits, or the parts of full_rate.",
        whole="off",
    )
    full_rate: tuple[str, ...] = anything(
        ("head",),
        "For backbone_factor: parts of the network with the full rate, as the first words of their parameters' paths.",
        check=lambda parts: "" if parts and all(parts) else "must name at least one part, such as head",
    )
    layer_decay: float = above_zero(
        1.0,
        "For Transformers: ratio of a block's learning rate to the next one's, so that pre-trained layers change less "
        "the nearer they are to the pixels; the head has the full rate. 1: the same rate for all.",
        whole="off",
    )


@dataclass
class EvalConfig(Section, path="eval"):
    """Views and batches of evaluation."""

    num_clips: int = at_least(1, 1, "Clips per video, spread evenly from end to end.")
    ensemble: str = choice(
        "mean",
        "max",
        help="Scores of a video from those of its views: their mean, or for each class the highest (max), as for "
        "Charades.",
    )
    num_crops: int = one_of(
        1,
        (1, 3, 5, 10),
        "Crops per clip. 1: centre; 3: along the longer side; 5: corners and centre; 10: those 5 also mirrored.",
        what="must be 1, 3, 5 or 10",
    )
    batch_size: int = at_least(1, 16, "Videos per step, over all devices.", unit="videos")
    every: tuple[str, ...] = anything(
        (),
        "Evaluators that run only at every N-th evaluation of a training and at the last, such as pictures=5. The one "
        "that ranks checkpoints always runs.",
    )


@dataclass
class MeshConfig(Section, path="mesh"):
    """Devices along each axis; one of data, fsdp and model may be -1: all devices that the other two leave. A batch is
    split over data × fsdp."""

    data: int = devices(-1, "Devices that hold whole parameters.")
    fsdp: int = devices(
        1, "Devices that each hold a part of every large parameter, its optimiser state and its moving average."
    )
    model: int = devices(
        1, "Devices that share the work on each clip: features of dense layers, channels of convolutions."
    )
    tokens: bool = anything(
        False,
        "For Transformers in training: whether mesh.model also splits the tokens between attention layers, for clips "
        "whose activations are too large for one device. Attention splits its heads if they divide evenly; otherwise "
        "keys and values travel between the devices.",
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
