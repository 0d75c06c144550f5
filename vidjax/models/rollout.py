"""Attention rollout: the share of each place of a clip in what a Transformer's classifier reads.

Paper: Abnar & Zuidema, Quantifying Attention Flow in Transformers (2005.00928): every attention passes on half of a
token itself (the residual) and half of what it attends to, on average over its heads. It does not depend on the class.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from vidjax.errors import UserError
from vidjax.models.base import VideoNetwork
from vidjax.models.calls import intercepted
from vidjax.models.saliency import Inputs, one_by_one
from vidjax.nn.attention_weights import recorded_weights
from vidjax.nn.grids import Grid
from vidjax.nn.packed import packing

_MOST_EXTRA = 8  # tokens beside the places of a frame: a class token and registers


@dataclass(frozen=True)
class Tokens:
    """Tokens of a clip: `whole` for all of it, then for each frame `extra` of its own before those of its places.

    Attributes:
      grid: places along T, H and W.
      whole: tokens for the whole clip.
      extra: tokens of each frame that are no places.
    """

    grid: Grid
    whole: int = 0
    extra: int = 0

    @property
    def plane(self) -> int:
        """Places of a frame."""
        return self.grid[1] * self.grid[2]

    @property
    def count(self) -> int:
        """S, number of tokens."""
        return self.whole + self.grid[0] * (self.extra + self.plane)

    def members(self, groups: int, size: int) -> np.ndarray | None:
        """Tokens among which attention of so many groups of so many tokens goes, int `(groups, size)`.

        They are all tokens, those of each frame, or those of each place over time. None: none of these.

        Raises:
          UserError: if frames and places cannot be told apart by their numbers.
        """
        times = self.grid[0]
        frames = self.whole + np.arange(self.count - self.whole).reshape(times, -1)
        if (groups, size) == (1, self.count):
            return np.arange(self.count)[None]
        of_frames = (groups, size) == (times, self.whole + self.extra + self.plane)
        of_places = size == times and groups in (self.plane, self.extra + self.plane)
        if of_frames and of_places:
            raise UserError(
                f"attention among {size} tokens in {groups} groups may be within frames or over time: take clips with "
                "another number of frames"
            )
        if of_frames:
            return np.concatenate([np.tile(np.arange(self.whole), (times, 1)), frames], axis=1)
        return frames.T[frames.shape[1] - groups :] if of_places else None

    def read_out(self) -> np.ndarray:
        """Share of each token in what the classifier reads, `(S,)`: its class tokens if there are any, or else all."""
        shares = np.zeros(self.count)
        if self.whole:
            shares[0] = 1
        else:
            shares.reshape(self.grid[0], -1)[:, : 1 if self.extra else None] = 1
        return shares / shares.sum()

    def places(self, shares: np.ndarray) -> np.ndarray:
        """Shares of the places `(t, h, w)`, from those of all tokens `(S,)`."""
        return shares[self.whole :].reshape(self.grid[0], -1)[:, self.extra :].reshape(self.grid)


def passed_back(shares: np.ndarray, weights: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Shares of tokens before an attention without its residual, from those after it.

    Args:
      shares: share of each of S tokens after the attention, `(S,)`.
      weights: weights of the attention, `(groups, N, M)`, rows sum to one.
      members: the M tokens of each group, int `(groups, M)`; queries are the same. A token of several groups gets the
        mean of what it takes in them, and tokens of no group stay as they are.
    """
    groups = np.bincount(members.ravel(), minlength=len(shares))
    given = shares / np.maximum(groups, 1)
    before = np.where(groups > 0, 0.0, shares)
    np.add.at(before, members, np.einsum("gn,gnm->gm", given[members], weights))
    return before


def rollout(network: VideoNetwork, inputs: Inputs) -> tuple[np.ndarray, int]:
    """Share of each place of clips in what the network's classifier reads.

    Args:
      network: network in evaluation mode, whose attention is among all tokens of a clip, those of each frame, or those
        of each place over time, in every block.
      inputs: B clips as they enter the network, "video" `(B, T, H, W, C)` among them.

    Returns:
      Maps, float32 `(B, t, h, w)`, which add up to at most one (class tokens have the rest), and the number of
      attentions.

    Raises:
      UserError: if the network has no attention, or one among other tokens, such as windows.
    """
    told: dict[str, Any] = {}

    @jax.jit
    def run(clip: Inputs) -> list[jax.Array]:
        calls: list[int] = []
        owners: list[int] = []  # number of the innermost call that each attention belongs to

        def around(path: str, call: Callable[[], Any]) -> Any:
            del path
            calls.append(len(calls))
            number = calls[-1]
            out = call()
            owners.extend([number] * (len(found) - len(owners)))
            return out

        with packing(1), recorded_weights() as found, intercepted(network, around):
            features = network.encode(clip)
            if network.head is not None:
                network.apply_head(features)
        owners.extend([-1] * (len(found) - len(owners)))
        told.update(grid=features.grid, tokens=None if features.tokens is None else features.tokens.shape[1])
        told.update(owners=owners)
        return list(found)

    maps, count = [], 0
    for clip in one_by_one(inputs):
        weights = [np.asarray(each, np.float64) for each in run(clip)]
        tokens, members = _arranged(type(network).__name__, told["grid"], told["tokens"], weights)
        maps.append(tokens.places(_rolled(tokens, weights, members, told["owners"])))
        count = len(weights)
    return np.stack(maps).astype(np.float32), count


def _arranged(
    name: str, grid: Grid | None, number: int | None, weights: Sequence[np.ndarray]
) -> tuple[Tokens, list[np.ndarray]]:
    """Tokens of a network, and those of each attention.

    Raises:
      UserError: if that is not possible.
    """
    mend = "; use --method hirescam or occlusion"
    if not weights or weights[0].shape[1] != weights[0].shape[2] or grid is None or number is None:
        raise UserError(f"{name} is no Transformer over places of the clip, so that there is no rollout{mend}")
    times, plane = grid[0], grid[1] * grid[2]
    whole = number - times * plane
    extra = 0
    if not whole:
        found = [each.shape[2] - plane for each in weights if each.shape[0] == times]
        extra = max((each for each in found if 0 <= each <= _MOST_EXTRA), default=0)
    tokens, members = Tokens(grid, whole, extra), []
    for place, each in enumerate(weights):
        own = tokens.members(each.shape[0], each.shape[2])
        last = place == len(weights) - 1
        if own is None or (each.shape[1] != each.shape[2] and not last):
            raise UserError(
                f"{name} has attention of {each.shape[1]} to {each.shape[2]} tokens in {each.shape[0]} groups, not "
                f"among the {tokens.count} tokens of the clip, its frames or its places: there is no rollout{mend}"
            )
        members.append(own)
    return tokens, members


def _rolled(
    tokens: Tokens, weights: Sequence[np.ndarray], members: Sequence[np.ndarray], owners: Sequence[int]
) -> np.ndarray:
    """Shares of the tokens before the first attention, `(S,)`, from the last one to the first."""
    last = len(weights)
    shares = tokens.read_out()
    if weights[-1].shape[1] != weights[-1].shape[2]:  # attention pooling, without a residual
        last -= 1
        shares = np.zeros(tokens.count)
        np.add.at(shares, members[-1], weights[-1].mean(axis=1) / len(members[-1]))
    while last:
        first = next(i for i in range(last) if owners[i] == owners[last - 1])
        # Attentions of the same call are side by side, as those of half of the heads each.
        found = [passed_back(shares, weights[i], members[i]) for i in range(first, last)]
        shares = 0.5 * shares + 0.5 * np.mean(found, axis=0)
        last = first
    return shares
