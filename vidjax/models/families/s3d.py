"""S3D and S3D-G: Inception I3D with every kernel split into space and time, without and with self-gating.

Paper: Xie et al., Rethinking Spatiotemporal Feature Learning (1712.04851). Reference code: torchvision
`models/video/s3d.py`; S3D-G, of which no weights are published, follows the paper.
"""

from vidjax.config import Spec
from vidjax.models.families.inception import TINY, Inception
from vidjax.models.registry import Variant, tiny_spec

# torchvision's norms keep 99.9 % of their running statistics at each step: for a run of fewer than a few thousand steps
# from fresh weights, `--config.model.kwargs.momentum=0.99` is better.
_S3D = {"separable": True, "padding": None, "momentum": 0.999, "dropout": 0.2}


def _spec(name: str, published: str, sources: tuple[str, ...] = ()) -> Spec:
    return Spec.of_video(
        name=name,
        num_frames=16,
        fps=15,
        size=224,
        resize=(256, 256),
        mean=(0.43216, 0.394666, 0.37645),
        std=(0.22803, 0.22145, 0.216989),
        num_classes=400,
        paper="https://arxiv.org/abs/1712.04851",
        sources=sources,
        published=published,
    )


VARIANTS = {
    "s3d": Variant(
        Inception,
        _spec("s3d", "K400 68.37 / 88.05, 1 clip of 128 frames at 15 fps (torchvision)", ("torchvision",)),
        _S3D,
    ),
    # Gates follow every convolution in time, as in the paper; the authors' TensorFlow code (nets/s3dg.py in
    # tensorflow/models) gates all four branches of each block instead, and not the first convolution.
    "s3dg": Variant(
        Inception,
        _spec("s3dg", "K400 74.7 / 93.4, trained on 64 frames from ImageNet weights (paper)"),
        {**_S3D, "gating": True},
    ),
    "s3d_tiny": Variant(
        Inception,
        tiny_spec("s3d_tiny", "https://arxiv.org/abs/1712.04851"),
        {**TINY, "separable": True, "padding": None},
    ),
}
