"""Weights of torchvision's S3D, `models.video.s3d`: a numbered sequence `features` of convolutions, pools, blocks."""

from vidjax.weights.layer_rules import batch_norm, conv
from vidjax.weights.layouts import CONV3D, POINTWISE
from vidjax.weights.table import Rule, Source

# Number in the sequence → block here; the missing numbers are pools.
_BLOCKS = {5: "0.0", 6: "0.1", 8: "1.0", 9: "1.1", 10: "1.2", 11: "1.3", 12: "1.4", 14: "2.0", 15: "2.1"}


def _unit(key: str, path: str) -> tuple[Rule, ...]:
    """Rules for the convolution and norm of a `Unit`."""
    return Rule(f"{key}.0.weight", f"{path}.conv.kernel", CONV3D), *batch_norm(f"{key}.1", f"{path}.norm")


def _separable(key: str, path: str) -> tuple[Rule, ...]:
    return *_unit(f"{key}.0", f"{path}.spatial"), *_unit(f"{key}.1", f"{path}.temporal")


def _block(number: int, place: str) -> tuple[Rule, ...]:
    key, path = f"features.{number}", f"stages.{place}"
    return (
        *_unit(f"{key}.branch0", f"{path}.branch0"),
        *(rule for b in (1, 2) for rule in _unit(f"{key}.branch{b}.0", f"{path}.branch{b}_reduce")),
        *(rule for b in (1, 2) for rule in _separable(f"{key}.branch{b}.1", f"{path}.branch{b}")),
        *_unit(f"{key}.branch3.1", f"{path}.branch3"),
    )


S3D = Source(
    name="torchvision",
    models=("s3d",),
    signature=("features.0.0.0.weight", "features.5.branch1.1.0.0.weight", "classifier.1.weight"),
    rules=(
        *_separable("features.0", "stem.0"),
        *_unit("features.2", "stem.1"),
        *_separable("features.3", "stem.2"),
        *(rule for number, place in _BLOCKS.items() for rule in _block(number, place)),
        *conv("classifier.1", "head", POINTWISE),
    ),
    ignore=("*.num_batches_tracked",),
)

SOURCES = (S3D,)
