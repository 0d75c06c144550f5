"""Weights of VGGish, as named by harritaylor/torchvggish; a classifier on its embedding starts anew."""

from vidjax.weights.layer_rules import conv, dense
from vidjax.weights.layouts import CONV2D
from vidjax.weights.table import Source

# Place of each convolution: number in the reference's sequence, and stage and number within it here.
_CONVS = {0: "0.0", 3: "1.0", 6: "2.0", 8: "2.1", 11: "3.0", 13: "3.1"}

TORCHVGGISH = Source(
    name="torchvggish",
    models=("vggish",),
    signature=("features.0.weight", "features.13.bias", "embeddings.4.weight"),
    rules=(
        *(rule for number, place in _CONVS.items() for rule in conv(f"features.{number}", f"stages.{place}", CONV2D)),
        *(rule for index in range(3) for rule in dense(f"embeddings.{2 * index}", f"dense.{index}")),
    ),
    fresh=("head.*",),
    # The whitening of embeddings, see `vidjax.models.families.vggish.to_bytes`.
    dropped=("pproc.*",),
)

SOURCES = (TORCHVGGISH,)
