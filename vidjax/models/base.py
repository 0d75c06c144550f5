"""Base class of all networks, and the features that they compute."""

import difflib
import fnmatch
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
from flax import nnx

from vidjax.errors import UserError
from vidjax.models.calls import module_paths, noted
from vidjax.nn.clips import need_clips
from vidjax.nn.grids import Grid, triple_of
from vidjax.nn.maps import flat_map
from vidjax.nn.positions import Table

# Methods that take clips `(B, T, H, W, C)`, or `{"video": clips}`, as their first argument.
TAKE_CLIPS = ("__call__", "encode", "features", "tokens", "intermediates")

PARTS = ("pooled", "tokens", "maps", "windows", "streams")  # fields of `Features`

# Change of a stage's map on its way to the next one: (its spatial stride in pixels, map) → map of the same shape.
Between = Callable[[int, jax.Array], jax.Array]


def unchanged(stride: int, x: jax.Array) -> jax.Array:
    """Return the map as it is."""
    del stride
    return x


# Names of the parameters that low-rank pairs add beside a kernel, see `vidjax.models.low_rank`.
LOW_RANK = ("lora_in", "lora_out")


class NoSuchPartError(UserError, ValueError):
    """Error: a network has no features of the requested kind; the message names both."""


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["pooled", "tokens", "maps", "windows", "streams"],
    meta_fields=["grid"],
)
@dataclass(frozen=True)
class Features:
    """Features of clips: the outputs of a network before its classifier.

    Attributes:
      pooled: `(B, D)` float32, one vector per clip: the classifier's input before dropout.
      tokens: `(B, N, D')`, one vector per place of the clip in t, h, w order, before pooling, after any tokens for the
        whole clip (a class token). None: the network has none.
      grid: number of tokens along T, H and W; their product is N, less the tokens for the whole clip. None: no tokens,
        or none that are places of the clip in order.
      maps: feature maps `(B, t, h, w, C)` of the stages by spatial stride in pixels; of several with the same stride,
        the last. None: the network has none.
      windows: `(B, …, D)`, vectors of a clip that are classified one by one; `pooled` is their mean. None: the
        classifier reads only `pooled`.
      streams: features of the networks inside, by name. None: the network is not one of several streams.
    """

    pooled: jax.Array
    tokens: jax.Array | None = None
    grid: Grid | None = None
    maps: Mapping[int, jax.Array] | None = None
    windows: jax.Array | None = None
    streams: Mapping[str, "Features"] | None = None

    @classmethod
    def of_maps(cls, maps: Mapping[int, jax.Array], pooled: jax.Array, windows: jax.Array | None = None) -> "Features":
        """Build features from maps; the tokens are the places of the last map."""
        last = maps[max(maps)]
        return cls(pooled, flat_map(last), triple_of(last.shape[1:4]), maps, windows)


@dataclass(frozen=True)
class Widths:
    """Widths of a network's `Features`, available without running it.

    Attributes:
      pooled: D, width of the pooled vector.
      tokens: D', width of a token; None: no tokens.
      maps: channels of the maps by spatial stride; None: no maps.
      windows: whether there are windows, of width D.
      streams: widths of the networks inside, by name; None: the network is not one of several streams.
    """

    pooled: int
    tokens: int | None = None
    maps: Mapping[int, int] | None = None
    windows: bool = False
    streams: Mapping[str, "Widths"] | None = None

    def __hash__(self) -> int:
        parts = (None if part is None else tuple(part.items()) for part in (self.maps, self.streams))
        return hash((self.pooled, self.tokens, self.windows, *parts))

    @classmethod
    def of_maps(cls, maps: Mapping[int, int], pooled: int | None = None, windows: bool = False) -> "Widths":
        """Build the widths of `Features.of_maps`; D defaults to the channels of the last map."""
        last = maps[max(maps)]
        return cls(last if pooled is None else pooled, last, dict(maps), windows)


class Head(nnx.Module):
    """Base class of heads that read a part of `Features` other than `pooled`, or apply dropout themselves.

    A head is replaced, not wrapped: `network.head = Attentive(…)`. Any other module that maps `(B, D)` to `(B, K)`,
    such as `nnx.Linear`, is a head too: it receives `pooled`, after dropout.

    A subclass defines `__call__(x, drop)`: x is the part of the features that it reads, and `drop` the network's
    dropout, to apply at any place.

    Attributes:
      sees: name of the part of `Features` that the head reads, one of `PARTS`.
      reads: names of further inputs of the network that the head alone reads, such as "boxes". Its call takes them
        after `drop`, in this order.
    """

    sees: ClassVar[str] = "pooled"
    reads: tuple[str, ...] = ()


def applied(head: nnx.Module, features: Features, drop: Callable[[jax.Array], jax.Array], *others: jax.Array) -> Any:
    """Apply a head to its part of the features.

    Args:
      head: a `Head`, or any module that maps `(B, D)` to `(B, K)`.
      features: features of a network that has the part which the head reads.
      drop: the network's dropout.
      *others: further inputs that the head reads.
    """
    if isinstance(head, Head):
        return head(getattr(features, head.sees), drop, *others)
    return head(drop(features.pooled))


def named(inputs: Any, name: str, network: str) -> Any:
    """Return the input `name` of a mapping, or the array itself if `inputs` is one.

    Raises:
      UserError: if the mapping has no such input; the message names those that it has.
    """
    if not isinstance(inputs, Mapping):
        return inputs
    if name not in inputs:
        raise UserError(f"{network} takes an input named {name!r}, but got {', '.join(map(repr, inputs)) or 'nothing'}")
    return inputs[name]


def _checked(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def checked(self: Any, video: Any, *args: Any, **kwargs: Any) -> Any:
        video = self.taken(video)
        return method(self, video, *args, **kwargs)

    return checked


class VideoNetwork(nnx.Module):
    """Base class of all networks.

    A family defines `encode`, and its constructor sets the attributes `widths`, `channels`, `dropout` and `head`. The
    base class derives the rest: `features`, `tokens`, `intermediates` and the call itself. All of them raise a
    `ClipError` for integer pixels and for shapes other than `(B, T, H, W, C)`, while the call is traced, so that the
    compiled program stays the same. Unused parts of `Features` cost nothing in a compiled program.

    In training mode, random layers draw from `rngs=nnx.Rngs(dropout=…)`.

    Attributes:
      head: classifier, a `Head` or any module that maps `(B, D)` to `(B, K)`; None: a call returns the features.
      dropout: dropout layer between the head's input and its last layer.
      widths: widths of the features.
      channels: C, channels of the clips.
      frozen: path prefixes of the parameters that training does not change, except for low-rank pairs.
      low_rank_scale: factor of the products of low-rank pairs, see `vidjax.models.low_rank`; 0: there are none.
      flow_network: network that estimates the optical flow of clips on the device, always in evaluation mode; None:
        flow is read, or not needed. Its parameters are frozen.
      exits: early exits, classifiers of inner layers, see `vidjax.models.exits`, which a call does not compute; None:
        there are none.
      positions: learned position tables by patterns of their paths, see `vidjax.nn.positions`.
      base_grid: grid of tokens for which the position tables are made; None: no tables.
      position_kind: name of the fixed positions added to the tokens; None: no fixed positions.
      conventions: arguments, as pairs of name and value, in which the sources of its weights differ although their
        arrays have the same shapes, such as the padding of convolutions. A checkpoint of another convention is refused.
    """

    head: nnx.Module | None = None
    dropout: nnx.Module
    widths: Widths
    channels: int = 3
    frozen: tuple[str, ...] = ()
    low_rank_scale: float = 0.0
    flow_network: nnx.Module | None = None
    exits: Any = None
    positions: ClassVar[Mapping[str, Table]] = {}
    base_grid: Grid | None = None
    position_kind: str | None = None
    conventions: tuple[tuple[str, Any], ...] = ()

    def taken(self, inputs: Any) -> Any:
        """Select the network's input from the argument of a call, and check it.

        Args:
          inputs: clips `(B, T, H, W, C)`, or a mapping that holds them as "video".

        Raises:
          ClipError: for integer pixels, and for any other shape.
          UserError: for a mapping that has no such input.
        """
        video = named(inputs, "video", type(self).__name__)
        need_clips(video, self.channels)
        return video

    def __init_subclass__(cls, **kwargs: Any) -> None:
        for name in TAKE_CLIPS:
            if name in cls.__dict__:
                setattr(cls, name, _checked(cls.__dict__[name]))
        super().__init_subclass__(**kwargs)

    def train(self, **attributes: Any) -> None:
        """Set training mode, except for frozen parts: they drop nothing, and keep their statistics."""
        super().train(**attributes)
        if self.frozen:
            for path, part in nnx.iter_modules(self):
                if f"{'.'.join(map(str, path))}.".startswith(self.frozen):
                    part.eval()

    @_checked
    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Compute the `Features` of normalised float clips.

        Args:
          video: `(B, T, H, W, C)`, or a mapping that holds it as "video".
          rngs: random streams; `dropout` is used in training mode.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define encode(video, rngs)")

    @_checked
    def features(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map normalised float clips `(B, T, H, W, C)` to `(B, D)` float32: the classifier's input before dropout, or
        its mean where the classifier reads several vectors."""
        return self.encode(video, rngs=rngs).pooled

    @_checked
    def tokens(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map normalised float clips `(B, T, H, W, C)` to tokens `(B, N, D')`, see `Features`.

        Raises:
          NoSuchPartError: if the network has no tokens.
        """
        self.width_of("tokens")
        return self.encode(video, rngs=rngs).tokens

    def __call__(self, video: Any, *others: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map normalised float clips `(B, T, H, W, C)` to logits `(B, K)` float32; without a head, to features.

        Args:
          video: the clips, or a mapping of inputs by name.
          *others: inputs that the head reads, see `Head.reads`, unless they are in the mapping.
          rngs: random streams; `dropout` is used in training mode.

        Raises:
          UserError: if an input is missing.
        """
        features = self.encode(video, rngs=rngs)
        return (
            features.pooled if self.head is None else self.apply_head(features, *self._others(video, others), rngs=rngs)
        )

    def _others(self, inputs: Any, given: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        names = self.head.reads if isinstance(self.head, Head) else ()
        if isinstance(inputs, Mapping) and not given:
            return tuple(named(inputs, name, type(self).__name__) for name in names)
        if len(given) != len(names):
            wanted = ", ".join(("video", *names))
            raise UserError(f"{type(self).__name__} with this head takes {wanted}; it got {1 + len(given)} of them")
        return given

    def apply_head(self, features: Features, *others: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Apply the head to its part of the features: logits `(B, K)` float32, for boxes `(B, R, K)`.

        Args:
          features: result of `encode`.
          *others: further inputs that the head reads, see `Head.reads`.
          rngs: random streams; `dropout` is used in training mode.

        Raises:
          NoSuchPartError: if the network has no such part.
        """
        assert self.head is not None, "a network without a classifier has nothing to apply"
        drop = functools.partial(self.dropout, rngs=rngs)
        if isinstance(self.head, Head):
            self.width_of(self.head.sees, type(self.head).__name__)
        return applied(self.head, features, drop, *others)

    def width_of(self, part: str, user: str = "") -> Any:
        """Width of a part of the features: D of `pooled` and `windows`, D' of `tokens`, `{stride: C}` of `maps`, the
        widths of each of the `streams`.

        Args:
          part: name of a part of the features, one of `PARTS`.
          user: reader of the part, named in the error message.

        Raises:
          NoSuchPartError: if the network has no such part; the message names those that it has.
        """
        has = {part: getattr(self.widths, part) for part in PARTS}
        has["windows"] = self.widths.pooled if self.widths.windows else None
        if has[part] is None:
            known = ", ".join(name for name, width in has.items() if width is not None)
            wants = f", which {user} reads" if user else ""
            raise NoSuchPartError(f"{type(self).__name__} has no {part}{wants}; it has {known}")
        return has[part]

    @_checked
    def intermediates(
        self, video: jax.Array, names: str | Sequence[str], rngs: nnx.Rngs | None = None
    ) -> dict[str, Any]:
        """Compute the outputs of inner modules, by path, as the network encodes clips.

        Under `jax.jit`, layers after the last of them cost nothing. Blocks run one by one here, to have an output each:
        `remat` and `scan_blocks` apply only to calls of the network itself, and do not change the values.

        Args:
          video: `(B, T, H, W, C)` normalised float clips.
          names: paths of modules such as "stages.1.0" and "blocks.3", or shell patterns such as "blocks.*", where "*"
            matches one part of a path.
          rngs: random streams; `dropout` is used in training mode.

        Returns:
          `{path: output of the module}`, mostly one array, in the order of the calls; for a module that runs several
          times, its last output.

        Raises:
          UserError: for a name without a module (the message names close ones) or with modules that do not run; for a
            module inside a loop (a recurrent cell), which has no single output.
        """
        given = [names] if isinstance(names, str) else names
        wanted = matching_paths(type(self).__name__, list(module_paths(self)), given)
        with noted(self, wanted) as found:
            self.encode(video, rngs=rngs)
        for name in dict.fromkeys(wanted.values()):
            if not any(wanted[path] == name for path in found):
                raise UserError(f"{type(self).__name__}: {name} does not run while clips are encoded")
        return found


def matching_paths(network: str, paths: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Match names with module paths: `{path: the name that matched it}`.

    Args:
      network: name of the network, for messages.
      paths: paths of its modules.
      names: paths, or shell patterns of which "*" matches one part of a path.

    Raises:
      UserError: for a name without a module; the message names close ones.
    """
    wanted: dict[str, str] = {}
    for name in names:
        parts = name.split(".")
        chosen = [
            path
            for path in paths
            if path.count(".") == name.count(".")
            and all(fnmatch.fnmatchcase(*pair) for pair in zip(path.split("."), parts, strict=True))
        ]
        if not chosen:
            inside = [path for path in paths if path.startswith(f"{name}.")][:1]
            close = inside or difflib.get_close_matches(name, paths, n=3)
            hint = f"; did you mean {' or '.join(close)}?" if close else ""
            raise UserError(f"{network} has no module {name!r}{hint}")
        wanted |= {path: name for path in chosen}
    return wanted
