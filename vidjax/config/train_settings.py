"""Settings of training: length, batches, a teacher, logs and checkpoints."""

from dataclasses import dataclass

from vidjax.config.fields import anything, at_least, below_one, choice, positive, share
from vidjax.config.section import Section


@dataclass
class TrainConfig(Section, path="train"):
    """Length, batches, logs and checkpoints of a training."""

    batch_size: int = at_least(
        1, 16, "Videos per update, over all devices; each gives data.sampling.views clips.", unit="videos"
    )
    epochs: float = anything(10.0, "Passes over the training videos.", unit="epochs")
    steps: int = anything(0, "Number of updates, instead of train.epochs; 0: train.epochs applies.", unit="updates")
    accumulate: int = at_least(
        1, 1, "Parts in which a batch is processed one after the other: less memory, the same update."
    )
    batch_norm: str = choice(
        "sync",
        "device",
        "precise",
        help="Statistics of batch normalisation. sync: of the batch over all devices (of each part of it, with "
        "train.accumulate); device: each device normalises its share of the batch with its own statistics, so that "
        "results depend on the number of devices, and running statistics follow the devices' mean; precise: sync, but "
        "before every evaluation and checkpoint, statistics computed anew with the current weights replace the running "
        "ones (not in a checkpoint at SIGTERM, when time is short).",
    )
    precise_batches: int = at_least(
        1, 200, "For batch_norm=precise: number of training batches for the statistics, at most an epoch."
    )
    ema_decay: float = below_one(
        0.0, "Decay of an exponential moving average of the weights, which is evaluated and saved; 0: none."
    )
    teacher: str = anything(
        "",
        "Folder of a run with the same classes whose probabilities are learned, too (distillation): its network sees "
        "the same augmented clips, or more or fewer frames of them if its number of frames is another; empty: none.",
    )
    teacher_weight: float = share(
        0.5, "For train.teacher: share of the loss that compares with the teacher's probabilities; the rest is that of "
        "the labels."
    )  # fmt: skip
    teacher_temperature: float = positive(
        2.0, "For train.teacher: divisor of both networks' logits before they are compared; more than 1 lets classes "
        "count that the teacher finds improbable."
    )  # fmt: skip
    teacher_tokens: float = at_least(
        0, 0.0, "For train.teacher: weight of a loss that compares how alike the tokens of a clip are to each other in "
        "both networks, see vidjax/nn/distil.py; 0: none.", meaning="none",
    )  # fmt: skip
    quantize: str = choice(
        "",
        "int8",
        "fp8",
        help="Round both operands of linear layers' products, and with int8 on TPUs and CPUs those of convolutions, to "
        "8 bits in training (extra quantize); gradients, parameters and evaluations stay as they are. Empty: no "
        "rounding.",
    )
    skip_bad_steps: int = at_least(
        0,
        0,
        "Updates in a row that may be skipped because their loss or gradient is NaN or infinite; one more stops the "
        "run. 0: the first one stops it.",
        meaning="stop at the first",
    )
    compilation_cache: str = anything(
        "",
        "Folder for compiled programs, so that the next start need not compile; empty: none, unless the environment "
        "variable JAX_COMPILATION_CACHE_DIR names one.",
    )
    log_every: int = at_least(1, 10, "Interval between log lines.", unit="updates")
    eval_epochs: float = anything(1.0, "Interval between evaluations; 0: only at the end.", unit="epochs")
    checkpoint_epochs: float = anything(1.0, "Interval between checkpoints; 0: only at the end.", unit="epochs")
    keep_last: int = at_least(1, 2, "Checkpoints kept besides the best one.")
    best_metric: str = anything(
        "",
        "Figure of eval.json that selects the best checkpoint, higher is better; empty: video/top1, or video/mAP with "
        "several labels per video, or reconstruction/explained without labels.",
        check=lambda name: (
            ""
            if not name or "/" in name
            else "give LEVEL/NAME of eval.json, such as video/top1 or reconstruction/explained"
        ),
    )
