"""The settings under `task.detect`: boxes, their loss and their evaluation."""

from dataclasses import dataclass

from vidjax.config.choices import BOX_PROTOCOLS
from vidjax.config.fields import above_zero, anything, at_least, choice, pairs, positive, share
from vidjax.config.section import Section


@dataclass
class DetectConfig(Section, path="task.detect"):
    """Training with boxes: who does what in the key frame of a clip."""

    evaluated = ("boxes", "min_score", "exclude", "file_start", "eval_jitter", "iou", "protocol")

    boxes: str = anything(
        "",
        "Detected boxes that evaluation classifies: a CSV as AVA's, or the pickle of SlowFast and mmaction2; several "
        "are joined by commas. Empty: the annotated boxes.",
    )
    train_boxes: str = anything(
        "",
        "Detected boxes that training uses beside the annotated ones, given as in task.detect.boxes. A box gets the "
        "labels of the annotated ones that it overlaps.",
    )
    min_score: float = share(0.9, "Detected boxes below this score are left out; SlowFast's configs have 0.8 or 0.9.")
    match_iou: float = above_zero(
        0.9, "Overlap (IoU) with an annotated box from which a detected one has its labels in training."
    )
    unlabelled: str = choice(
        "negative",
        "ignore",
        help="Boxes without a label in training: examples that show none of the classes (negative, as in SlowFast), or "
        "left out of the loss (ignore, as in mmaction2).",
    )
    exclude: str = anything(
        "",
        "CSV of key frames to leave out, lines video,second, such as AVA's excluded timestamps; several are joined by "
        "commas.",
    )
    file_start: float = at_least(
        0, 0.0, "Time of the annotations at which the video files begin: 900 for AVA's videos cut at minute 15.",
        unit="seconds",
    )  # fmt: skip
    focal_gamma: float = at_least(
        0, 0.0, "Exponent γ of the weights α(1 − exp(−loss))^γ by which mmaction2 multiplies each loss; 0: no weights.",
        meaning="no weights",
    )  # fmt: skip
    focal_alpha: float = positive(3.0, "Factor α of the weights of task.detect.focal_gamma.")
    jitter: float = above_zero(
        1.0, "Boxes are moved and resized in training, each down to this overlap (IoU) with itself at most.",
        whole="never",
    )  # fmt: skip
    eval_jitter: float = above_zero(
        1.0, "Overlap (IoU) with the annotated boxes of the boxes that evaluation draws around these; a test of how "
        "exact boxes must be.", whole="the annotated boxes themselves",
    )  # fmt: skip
    iou: float = above_zero(0.5, "Overlap (IoU) from which a detection counts as correct.")
    protocol: str = choice(*BOX_PROTOCOLS, help="Rules of the frame mAP: AVA's official ones, or a toolbox's.")
    flip_pairs: tuple[str, ...] = anything(
        (), "Pairs of classes that mirroring swaps, as in task.classify.flip_pairs.", check=pairs
    )
