"""Several networks in one, each on its own channels of a clip, and the fusion of what they find.

`vidjax.models.families.two_stream` builds such networks of named ones: colour frames and optical flow.

Papers: Simonyan & Zisserman, Two-Stream Convolutional Networks (1406.2199), whose scores are averaged; Feichtenhofer
et al., Convolutional Two-Stream Network Fusion (1604.06573), whose last maps are joined by a convolution; Feichtenhofer
et al., Spatiotemporal Residual Networks (1611.02155) and Spatiotemporal Multiplier Networks (CVPR 2017), where motion
enters the stages of the network for appearance by addition and by multiplication.
"""

import contextlib
import inspect
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.errors import UserError
from vidjax.models.base import Features, Head, VideoNetwork, Widths, applied
from vidjax.models.heads import Drop
from vidjax.nn.conv import Conv3D
from vidjax.nn.grids import Grid, triple_of
from vidjax.nn.init import normal_001
from vidjax.nn.maps import flat_map, shrunk
from vidjax.nn.score_fusion import RULES, checked_weights, fused_logs

# Each stream has its classifier: scores are averaged, with equal, given or learned weights.
OF_SCORES = ("mean", "weighted", "learned", "lateral")
# One classifier: of the concatenated features, or of the last maps joined by a convolution.
FUSIONS = (*OF_SCORES, "concat", "conv")
LATERALS = ("add", "multiply")


@dataclass(frozen=True)
class FusionOptions:
    """Fusion of the streams.

    Attributes:
      fusion: kind of fusion. "mean", "weighted", "learned": every stream is classified, and the scores are averaged
        with equal, given or learned weights. "lateral": the same, and the maps of the second stream also enter the
        first one, stage by stage. "concat": one classifier of the pooled features side by side. "conv": one classifier
        of the last maps, which a convolution joins.
      scores: what is averaged: "probabilities" (Simonyan and Zisserman, TSN) or "logits" (I3D). Empty: probabilities.
      weights: weight of each stream, for "weighted", and for "lateral" where the weights are not equal. Those of
        probabilities are shares; those of logits are factors, so that (1, 1) adds them.
      exclusive: whether a clip has one class, so that probabilities are a softmax over the classes, rather than
        several, and a sigmoid of each.
      kernel: extent of the convolution of "conv" in time, height and width, 1 or 3. 0: 1.
      lateral: entry of a map of the second stream, after a 1×1×1 convolution, into one of the first: "add", or
        "multiply" by one plus it. Empty: add. At the start of training nothing enters.

    Raises:
      UserError: for an unknown value, and for an option that the kind of fusion does not have.
    """

    fusion: str = "mean"
    scores: str = ""
    weights: Sequence[float] = ()
    exclusive: bool = True
    kernel: int = 0
    lateral: str = ""

    def __post_init__(self) -> None:
        for name, known in (("fusion", FUSIONS), ("scores", ("", *RULES)), ("lateral", ("", *LATERALS))):
            if getattr(self, name) not in known:
                raise UserError(f"{name} = {getattr(self, name)!r}: must be one of {', '.join(filter(None, known))}")
        if self.kernel not in (0, 1, 3):
            raise UserError(f"kernel = {self.kernel}: must be 1 or 3")
        of_scores = self.fusion in OF_SCORES
        given = {
            "scores": (self.scores, of_scores),
            "weights": (self.weights, self.fusion in ("weighted", "lateral")),
            "exclusive": (not self.exclusive, of_scores and self.scores != "logits"),
            "kernel": (self.kernel, self.fusion == "conv"),
            "lateral": (self.lateral, self.fusion == "lateral"),
        }
        for name, (value, applies) in given.items():
            if value and not applies:
                raise UserError(f"{name} = {getattr(self, name)!r}: does not apply to fusion = {self.fusion!r}"
                                f"{' of logits' if of_scores else ''}; leave it out")  # fmt: skip
        if self.fusion == "weighted" and not self.weights:
            raise UserError("fusion = 'weighted': give weights, one for each stream, such as weights=(1, 1.5)")


class ScoreFusion(Head):
    """Classifiers of several streams, and one score from theirs.

    The result is logits whose softmax (of classes that are not exclusive the sigmoid) is the fused probability, so that
    losses and evaluators of logits are right. For a mean of probabilities that is the logarithm of the mean, or its log
    odds.

    Attributes:
      classifiers: names of the streams; the attribute of that name is the stream's classifier.
      rule: what is averaged, one of `vidjax.nn.score_fusion.RULES`.
      exclusive: whether a clip has one class; None: logits are averaged, for which it does not matter.
      out_features: K, number of classes.

    Args:
      classifiers: classifier of each stream by name, a `Head` or any module that maps `(B, D)` to `(B, K)`.
      num_classes: K, number of classes.
      options: kind of fusion.

    Raises:
      UserError: if the weights do not fit.
    """

    sees: ClassVar[str] = "streams"

    def __init__(self, classifiers: Mapping[str, nnx.Module], num_classes: int, options: FusionOptions):
        self.rule = options.scores or RULES[0]
        self.weights = checked_weights(options.weights, len(classifiers), self.rule)
        self.exclusive = options.exclusive if self.rule == "probabilities" else None
        self.out_features = num_classes
        self.classifiers = tuple(classifiers)
        for name, classifier in classifiers.items():
            setattr(self, name, classifier)
        learned = options.fusion == "learned"
        self.balance = nnx.data(nnx.Param(jnp.zeros(len(classifiers))) if learned else None)

    def each(self, streams: Mapping[str, Features], drop: Drop) -> dict[str, jax.Array]:
        """Logits of each stream by name, `(B, K)` float32, from the streams' features."""
        return {name: applied(getattr(self, name), streams[name], drop) for name in self.classifiers}

    def __call__(self, x: Mapping[str, Features], drop: Drop) -> jax.Array:
        """Map the streams' features to fused logits `(B, K)` float32."""
        return self.fused(list(self.each(x, drop).values()))

    def fused(self, logits: Sequence[jax.Array]) -> jax.Array:
        """Fuse the logits of the streams, `(B, K)` each."""
        shares: Any = self.weights if self.balance is None else jax.nn.softmax(self.balance[...])
        shares = list(shares)
        if self.exclusive is None:
            return fused_logs(logits, shares, self.rule, jnp)
        log = jax.nn.log_softmax if self.exclusive else jax.nn.log_sigmoid
        fused = fused_logs([log(z) for z in logits], shares, self.rule, jnp)
        if self.exclusive:
            return fused
        return fused - fused_logs([log(-z) for z in logits], shares, self.rule, jnp)


class Streams(VideoNetwork):
    """Several networks, each on its own channels of one clip.

    Each network is the attribute of its stream's name. Where scores are fused, its classifier is that attribute of
    `head`, a `ScoreFusion`, so that it can be replaced with it; `alone` gives the network back its classifier.
    `pooled` are the networks' vectors side by side, and so are the maps of strides that all of them have, and tokens:
    those of the finer grids are averaged to the coarsest.

    Args:
      networks: networks by name of the stream, in the order of their channels.
      num_classes: K, number of classes.
      names: names of the networks by stream, as in `vidjax.list_models()`, for loading their weights.
      options: kind of fusion.
      dropout: probability of dropping a feature before the classifiers, in training mode.
      dtype: dtype of activations; None: float32.
      rngs: random streams for the initial weights.

    Raises:
      UserError: for a network that does not fit the kind of fusion, and for weights that do not fit.
    """

    def __init__(
        self,
        networks: Mapping[str, VideoNetwork],
        num_classes: int,
        *,
        names: Mapping[str, str],
        options: FusionOptions,
        dropout: float = 0.5,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        self.names = tuple((stream, names[stream]) for stream in networks)
        self.fusion = options.fusion
        for stream, network in networks.items():
            if not isinstance(network.head, nnx.Module) or getattr(network.head, "reads", ()):
                raise UserError(f"{stream} = {names[stream]!r}: has no classifier of whole clips")
            setattr(self, stream, network)
        self.channels = sum(network.channels for network in networks.values())
        self.frozen = tuple(f"{stream}.{path}" for stream, network in networks.items() for path in network.frozen)
        self.dropout = nnx.Dropout(dropout)
        self.widths = _side_by_side({stream: network.widths for stream, network in networks.items()})
        layers = {"dtype": dtype, "rngs": rngs}
        self.join = nnx.data(self._joining(networks, options, **layers) if options.fusion == "conv" else None)
        convs = self._laterals(networks, **layers) if options.fusion == "lateral" else {}
        self.laterals, self.lateral_strides = nnx.List(convs.values()), tuple(convs)
        self.multiplies = options.lateral == "multiply"
        heads = {stream: network.head for stream, network in networks.items()}
        for network in networks.values():
            network.head = nnx.data(None)
        if options.fusion in OF_SCORES:
            self.head = ScoreFusion({s: head for s, head in heads.items() if head is not None}, num_classes, options)
        else:
            self.head = nnx.Linear(self.widths.pooled, num_classes, kernel_init=normal_001, rngs=rngs)

    def _joining(self, networks: Mapping[str, VideoNetwork], options: FusionOptions, **layers: Any) -> Conv3D:
        """Convolution of the last maps side by side into as many channels as the first network's; at the start, their
        sum."""
        last = {}
        for stream, network in networks.items():
            widths = network.widths.maps
            if not widths:
                raise UserError(
                    f"fusion = 'conv' joins the last maps, which {dict(self.names)[stream]} ({stream}) lacks; take "
                    "mean, weighted, learned or concat"
                )
            last[stream] = (max(widths), widths[max(widths)])
        if len({stride for stride, _ in last.values()}) > 1:
            told = ", ".join(f"{stream} {stride}" for stream, (stride, _) in last.items())
            raise UserError(f"fusion = 'conv' joins the last maps, whose strides in pixels differ: {told}")
        wide = [width for _, width in last.values()]
        size = options.kernel or 1

        def summing(key: jax.Array, shape: Sequence[int], dtype: Any) -> jax.Array:
            del key  # nothing is drawn
            kernel = jnp.concatenate([jnp.eye(width, wide[0], dtype=dtype) for width in wide])
            middle = tuple(k // 2 for k in shape[:3])
            return jnp.zeros(shape, dtype).at[middle].set(kernel)

        stride = max(self.widths.maps or {})
        maps = {**(self.widths.maps or {}), stride: wide[0]}
        self.widths = Widths.of_maps(maps)
        return Conv3D(sum(wide), wide[0], size, 1, size // 2, kernel_init=summing, **layers)

    def _laterals(self, networks: Mapping[str, VideoNetwork], **layers: Any) -> dict[int, Conv3D]:
        """Convolutions from the second network's maps to the first one's, by stride, after every stage but the
        last."""
        (into, first), (_, second) = list(networks.items())[:2]
        if len(networks) != 2:
            raise UserError(f"fusion = 'lateral' joins two streams, not {len(networks)}")
        names = [name for _, name in self.names]
        if "between" not in inspect.signature(type(first).encode).parameters:
            raise UserError(
                f"fusion = 'lateral': {into} = {names[0]!r} takes nothing in between its stages; ResNets, Inception, "
                "CSN and X3D do"
            )
        own, given = first.widths.maps or {}, second.widths.maps or {}
        strides = tuple(sorted(own)[:-1])
        if not strides or any(stride not in given for stride in strides):
            raise UserError(
                f"fusion = 'lateral': the stages of {names[0]} have strides of {', '.join(map(str, sorted(own)))} "
                f"pixels, those of {names[1]} {', '.join(map(str, sorted(given))) or 'no maps'}; take two networks of "
                "one family"
            )
        zeros = nnx.initializers.zeros_init()
        return {stride: Conv3D(given[stride], own[stride], 1, kernel_init=zeros, **layers) for stride in strides}

    @property
    def channel_ranges(self) -> dict[str, slice]:
        """Channels of each stream in a clip, by its name."""
        ranges, start = {}, 0
        for stream, _ in self.names:
            ranges[stream] = slice(start, start := start + getattr(self, stream).channels)
        return ranges

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised clips (B, T, H, W, C), the streams' channels side by side, as features.

        Raises:
          UserError: if lateral maps differ in size from those that they enter.
        """
        clips = {stream: video[..., channels] for stream, channels in self.channel_ranges.items()}
        first, *others = clips
        streams = {stream: getattr(self, stream).encode(clips[stream], rngs=rngs) for stream in others}
        entering: dict[str, Any] = {}
        if self.fusion == "lateral":
            given = streams[others[0]].maps
            entering = {"between": lambda stride, x: self._entered(stride, x, given)}
        streams = {first: getattr(self, first).encode(clips[first], rngs=rngs, **entering)} | streams
        found = list(streams.values())
        maps = {
            stride: _concatenated([each.maps[stride] for each in found if each.maps is not None])
            for stride in self.widths.maps or {}
        }
        if self.join is not None:
            last = max(maps)
            maps[last] = nnx.relu(self.join(maps[last]))
            return Features.of_maps(maps, maps[last].mean(axis=(1, 2, 3), dtype=jnp.float32))
        pooled = jnp.concatenate([each.pooled for each in found], axis=-1)
        tokens, grid = None, None
        if self.widths.tokens is not None:
            places = _concatenated([_places(each) for each in found])
            tokens, grid = flat_map(places), triple_of(places.shape[1:4])
        return Features(pooled, tokens, grid, maps or None, streams=streams)

    def _entered(self, stride: int, x: jax.Array, given: Mapping[int, jax.Array]) -> jax.Array:
        """The map of a stage of the first network, with that of the second one entered."""
        if stride not in self.lateral_strides:
            return x
        y = self.laterals[self.lateral_strides.index(stride)](given[stride])
        if y.shape != x.shape:
            raise UserError(
                f"fusion = 'lateral': after the stage of stride {stride} the maps (T, H, W) are {x.shape[1:4]} and "
                f"{y.shape[1:4]}; take two networks with the same strides in time"
            )
        return x * (1 + y) if self.multiplies else x + y

    @contextlib.contextmanager
    def alone(self, stream: str) -> Generator[VideoNetwork, None, None]:
        """Context in which a stream's network is one of its own, with its classifier if it has one.

        Args:
          stream: name of the stream.

        Raises:
          UserError: if there is no such stream.
        """
        known = [name for name, _ in self.names]
        if stream not in known:
            raise UserError(f"there is no stream {stream!r}; there are {', '.join(known)}")
        network = getattr(self, stream)
        own = isinstance(self.head, ScoreFusion)
        network.head = getattr(self.head, stream) if own else nnx.data(None)
        try:
            yield network
        finally:
            network.head = nnx.data(None)


def _side_by_side(streams: Mapping[str, Widths]) -> Widths:
    """Widths of features side by side."""
    each = list(streams.values())
    common = [s for s in each[0].maps or {} if all(s in (widths.maps or {}) for widths in each)]
    maps = {stride: sum((widths.maps or {})[stride] for widths in each) for stride in common}
    has_tokens = all(widths.tokens for widths in each)
    return Widths(
        sum(widths.pooled for widths in each),
        sum(widths.tokens or 0 for widths in each) if has_tokens else None,
        maps or None,
        streams=dict(streams),
    )


def _places(features: Features) -> jax.Array:
    """Tokens as a map `(B, t, h, w, D')`, without those for the whole clip."""
    grid, tokens = features.grid, features.tokens
    assert grid is not None and tokens is not None
    count = grid[0] * grid[1] * grid[2]
    return tokens[:, tokens.shape[1] - count :].reshape(tokens.shape[0], *grid, tokens.shape[-1])


def _concatenated(maps: Sequence[jax.Array]) -> jax.Array:
    """Concatenate maps `(B, T, H, W, C)` along their channels, at the coarsest of their grids."""
    smallest: Grid = triple_of(min(sizes) for sizes in zip(*(x.shape[1:4] for x in maps), strict=True))
    return jnp.concatenate([shrunk(x, smallest) for x in maps], axis=-1)
