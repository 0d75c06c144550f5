"""What all networks of this package have in common."""

import functools
from collections.abc import Callable
from typing import Any

from flax import nnx

from vidjax.nn.clips import need_clips

# The methods that take clips `(B, T, H, W, C)` as their first argument.
TAKE_CLIPS = ("__call__", "features", "tokens")


class VideoNetwork(nnx.Module):
    """Base class of all networks: what they are given is looked at before they compute.

    A subclass writes `__call__`, `features` and perhaps `tokens` (`vidjax.models.registry.Variant` says what they
    give); each of them then raises a `ClipError` for integer pixels and for shapes other than `(B, T, H, W, C)`. That
    happens while the call is traced: the compiled program is the same.

    A network without a classifier, whose attribute `head` is None, answers a call with its features.

    Attributes:
      channels: C, channels of the clips.
    """

    channels: int = 3

    def __init_subclass__(cls, **kwargs: Any) -> None:
        for name in TAKE_CLIPS:
            if name in cls.__dict__:
                setattr(cls, name, _checked(cls.__dict__[name]))
        super().__init_subclass__(**kwargs)


def _checked(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def checked(self: VideoNetwork, video: Any, *args: Any, **kwargs: Any) -> Any:
        need_clips(video, self.channels)
        if method.__name__ == "__call__" and getattr(self, "head", self) is None:
            return self.features(video, *args, **kwargs)
        return method(self, video, *args, **kwargs)

    return checked
