"""Two-stream networks: one named network on colour frames, another on stacked optical flow, fused into one.

Every network of the zoo that classifies clips can be either stream, and every kind of fusion of
`vidjax.models.streams` joins them: `--config.model.name=two_stream --config.model.kwargs.rgb=tsm_r50
--config.model.kwargs.flow=slow_r50 --config.model.kwargs.fusion=conv`. The clip has 3 + 2L channels: colours, then x
and y of each of the L fields that follow the frame.

Papers: Simonyan & Zisserman, Two-Stream Convolutional Networks (1406.2199); Wang et al., Temporal Segment Networks
(1608.00859); Carreira & Zisserman, Quo Vadis, Action Recognition? (1705.07750). Here the first two run on ResNets
instead of their VGG-M and BN-Inception.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from flax import nnx

from vidjax.config import Spec
from vidjax.errors import UserError
from vidjax.inputs import FlowFields
from vidjax.models.arguments import by_field
from vidjax.models.base import VideoNetwork
from vidjax.models.registry import Variant, construct, get_variant
from vidjax.models.streams import FusionOptions, Streams

COLOURS = 3
DEFAULTS = FusionOptions()


@by_field
def two_stream(
    num_classes: int,
    *,
    rgb: str,
    flow: str,
    options: FusionOptions = DEFAULTS,
    rgb_options: Mapping[str, Any] | None = None,
    flow_options: Mapping[str, Any] | None = None,
    num_frames: int = 0,
    size: int = 0,
    in_channels: int = 5,
    dropout: float = 0.5,
    remat: str = "",
    dtype: Any = None,
    rngs: nnx.Rngs,
) -> Streams:
    """Build a network of two named ones, with the streams "rgb" and "flow".

    Args:
      num_classes: K, number of classes.
      rgb: name of the network for colour frames.
      flow: name of the network for flow.
      options: kind of fusion, passed as the fields of `vidjax.models.streams.FusionOptions`.
      rgb_options: further arguments of the network for colour frames; None: none.
      flow_options: further arguments of the network for flow; None: none.
      num_frames: T, frames of every clip, for networks with weights for each frame; 0: those of the named networks.
      size: height and width of the clips, pixels, for networks with tables of positions; 0: that of the named networks.
      in_channels: C = 3 + 2L, channels of the clips, of L fields each.
      dropout: probability of dropping a feature before the classifiers, in training mode.
      remat: rematerialisation policy of both networks, one of `REMAT`, see `vidjax/nn/remat.py`.
      dtype: dtype of activations; None: float32.
      rngs: random streams for the initial weights.

    Raises:
      UserError: for channels other than three colours and pairs, and for networks that are no classifiers of clips or
        do not fit the kind of fusion.
      UnknownModelError: if no model has the name of a stream.
      ArgumentError: for an argument that a stream's network does not take.
    """
    fields = in_channels - COLOURS
    if fields < 2 or fields % 2:
        raise UserError(
            f"in_channels = {in_channels}: a two-stream network takes 3 colours and 2 channels of each field of flow"
        )
    shared = {"num_frames": num_frames, "size": size, "remat": remat}
    layers = {"dtype": dtype, "rngs": rngs}
    networks = {
        "rgb": _stream("rgb", rgb, num_classes, COLOURS, shared, rgb_options, **layers),
        "flow": _stream("flow", flow, num_classes, fields, shared, flow_options, **layers),
    }
    names = {"rgb": rgb, "flow": flow}
    return Streams(networks, num_classes, names=names, options=options, dropout=dropout, **layers)


def _stream(
    stream: str,
    name: str,
    num_classes: int,
    channels: int,
    shared: Mapping[str, Any],
    options: Mapping[str, Any] | None,
    **layers: Any,
) -> VideoNetwork:
    """Network of one stream."""
    variant = get_variant(name)
    if variant.build is two_stream:
        raise UserError(f"{stream} = {name!r}: is itself one of two streams")
    if list(variant.spec.inputs) != ["video"]:
        raise UserError(f"{stream} = {name!r}: takes other inputs than a video; give a network of clips")
    given = {key: value for key, value in shared.items() if value and variant.sized.get(key, True)}
    return construct(name, num_classes, given | dict(options or {}), {"in_channels": channels}, **layers)


def _variant(
    name: str,
    networks: tuple[str, str],
    fields: FlowFields,
    colours: tuple[Sequence[float], Sequence[float]],
    flow: tuple[float, float],
    paper: str,
    *,
    kwargs: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Variant:
    """Named two-stream network.

    Args:
      name: its name.
      networks: names of the networks for colour frames and for flow.
      fields: fields of flow beside each frame.
      colours: mean and standard deviation of each colour.
      flow: mean and standard deviation of flow in 0…1, where 128/255 is no motion.
      paper: arXiv number of the paper.
      kwargs: further arguments of `two_stream`; None: none.
      **settings: further fields of the spec and its video input.
    """
    mean, std = ((*colour, *fields.channels * (value,)) for colour, value in zip(colours, flow, strict=True))
    spec = Spec.of_video(
        name=name,
        content="rgb+flow",
        flow=fields,
        mean=mean,
        std=std,
        paper=f"https://arxiv.org/abs/{paper}",
        **settings,
    )
    arguments = {"rgb": networks[0], "flow": networks[1], **(kwargs or {})}
    return Variant(two_stream, spec, arguments, fixed_length=True, fixed_size=True)


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = (3 * (0.5,), 3 * (0.5,))
_TSN_FLOW = (0.5, 0.226)  # the mean deviation of ImageNet's colours, as in tsn-pytorch

VARIANTS = {
    variant.spec.name: variant
    for variant in (
        _variant(
            "two_stream",
            ("slow_r50", "slow_r50"),
            FlowFields(count=5),
            IMAGENET,
            _TSN_FLOW,
            "1406.2199",
            num_frames=8,
            stride=8,
        ),
        _variant(
            "two_stream_r50",
            ("single_frame_r50", "single_frame_r50"),
            FlowFields(count=10, mean_subtracted=True),
            IMAGENET,
            _TSN_FLOW,
            "1406.2199",
            num_frames=1,
            num_classes=101,
            kwargs={"dropout": 0.9},
            published="UCF-101 86.9 (RGB 73.0, flow 83.7), HMDB-51 58.0 (40.5, 54.6), mean of three splits, "
            "25×10 views, with CNN-M-2048 in both streams (paper)",
        ),
        _variant(
            "two_stream_tsn",
            ("tsn_r50", "tsn_r50"),
            FlowFields("tvl1", 5),
            IMAGENET,
            _TSN_FLOW,
            "1608.00859",
            num_frames=3,
            num_classes=101,
            kwargs={"fusion": "weighted", "weights": (1.0, 1.5), "dropout": 0.7},
            published="UCF-101 94.0, HMDB-51 68.5, mean of three splits, 25×10 views, with BN-Inception in both "
            "streams (paper)",
        ),
        _variant(
            "two_stream_i3d",
            ("i3d_inception_rgb", "i3d_inception_flow"),
            FlowFields("tvl1"),
            HALF,
            (0.5, 0.5),
            "1705.07750",
            num_frames=64,
            fps=25,
            kwargs={"fusion": "weighted", "scores": "logits", "weights": (1.0, 1.0)},
            published="K400 test set 74.2 / 91.3 (RGB 71.1, flow 63.4), whole videos (google-deepmind/kinetics-i3d); "
            "UCF-101 98.0, HMDB-51 80.7 (paper)",
        ),
        _variant(
            "two_stream_tiny",
            ("frame_pool_tiny", "frame_pool_tiny"),
            FlowFields(),
            (3 * (0.5,), 3 * (0.25,)),
            (0.5, 0.25),
            "1406.2199",
            num_frames=8,
            stride=2,
            size=64,
            resize=(72,),
            num_classes=6,
            kwargs={"dropout": 0.0},
        ),
    )
}
