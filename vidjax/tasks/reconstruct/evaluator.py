"""How well a pre-training network tells hidden pixels of videos that it was not trained on, in figures and pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from rich.console import Console

from vidjax import parallel
from vidjax.config import EvalConfig, Spec
from vidjax.data.pipeline import BadRecord
from vidjax.data.reading.clips import ClipReader
from vidjax.data.records import VideoSet
from vidjax.evaluation.engine import batches_of, gather_bad, views_of
from vidjax.models.state import Arrays, in_float32, merge, split
from vidjax.nn.normalise import network_input, normalise

# Clips, evenly spread over the videos, and frames of each, that `reconstructions.png` shows.
_CLIPS, _FRAMES = 4, 8
_LEAST_SIDE = 64  # pixels of a frame in the picture

# (params, stats, uint8 clips (B, T, H, W, C), int32 (B,) numbers that decide the masks) → what the two give
_Compiled = Callable[[Arrays, Arrays, jax.Array, jax.Array], Any]


@dataclass(frozen=True)
class Reconstruct:
    """Two compiled functions of parameters, statistics, clips and numbers that decide their masks."""

    compare: _Compiled  # → float32 (B,) squared error and (B,) variance of the targets
    show: _Compiled  # → float32 (B, 3, T, H, W, 3) in 0…1: original, masked, reconstructed


@dataclass(frozen=True)
class Reconstructions:
    """What was seen of single clips: uint8 `(N, 3, T, H, W, 3)`, the original, what the network saw of it, what it made
    of that."""

    pictures: np.ndarray
    bad: tuple[BadRecord, ...]


def make_reconstruct(model: nnx.Module, spec: Spec, mesh: Mesh, dtype: Any = None) -> Reconstruct:
    """The compiled functions that hide, predict and compare or show, in evaluation mode."""
    model.eval()
    graphdef, _, _ = split(model)

    def predicted(params: Arrays, stats: Arrays, video: jax.Array, numbers: jax.Array):
        network = merge(graphdef, in_float32(params), stats)
        entered, pixels = network_input(normalise(video, spec), spec, dtype), video / 255
        mask = network.draw_masks(jax.vmap(jax.random.key)(numbers), network.patch_embed.grid(entered))
        return network, pixels, network(entered, mask), mask

    def compare(*arguments: Any) -> tuple[jax.Array, jax.Array]:
        with parallel.kernels_on(mesh):
            network, pixels, prediction, mask = predicted(*arguments)
        targets = network.targets(pixels, mask)
        # The variance of normalised targets, whose mean is 0, is 1 but for plain tubelets.
        centre = jnp.zeros(()) if network.normalise_targets else targets.mean(axis=(1, 2), keepdims=True)
        return jnp.square(targets - prediction).mean(axis=(1, 2)), jnp.square(targets - centre).mean(axis=(1, 2))

    def show(*arguments: Any) -> jax.Array:
        with parallel.kernels_on(mesh):
            network, pixels, prediction, mask = predicted(*arguments)
        return jnp.stack([pixels, *network.pictures(pixels, prediction, mask)], axis=1)

    sharding = parallel.batch_sharding(mesh)
    return Reconstruct(jax.jit(compare, out_shardings=sharding), jax.jit(show, out_shardings=sharding))


def evaluate_reconstruction(
    reconstruct: Reconstruct,
    params: Arrays,
    stats: Arrays,
    videos: VideoSet,
    reader: ClipReader,
    config: EvalConfig,
    mesh: Mesh,
    console: Console | None = None,
) -> tuple[dict[str, Any], Reconstructions]:
    """Hide the same tubes of every clip of a video set on every call, and compare what the network makes of them.

    Args:
      reconstruct: from `make_reconstruct`.
      params, stats: placed on the mesh.
      videos: labels are not used.
      reader: how clips are read.
      config: clips per video and videos per step, the latter rounded up to a multiple of the devices.
      mesh: whose devices share a batch.
      console: None: no bar.

    Returns:
      `(summary, pictures)`. The summary is what becomes `eval.json`: `reconstruction`: `loss`, the mean squared error
      of the hidden targets, as in training, and `explained`, the share of their variance that the prediction has right
      (1: all; 0: no better than the mean); `coverage`, `num_videos`, `num_views`, `unreadable` as for classifiers.
    """
    sharding = parallel.batch_sharding(mesh)
    wanted = {int(i) for i in np.linspace(0, len(videos) - 1, min(_CLIPS, len(videos)))}
    errors, variances, shown, bad, readable, most = [], [], {}, [], 0, 0
    for batch in batches_of(videos, reader, config, mesh, console):
        columns = parallel.gather(parallel.place({k: batch[k] for k in ("index", "mask", "views")}, sharding))
        readable += int(columns["mask"].sum())
        views = views_of(batch)
        most = max(most, len(views))
        for view, clips in enumerate(views):
            # A clip's mask depends on its video and view alone.
            numbers = np.maximum(batch["index"], 0) * 1000 + view
            arguments = params, stats, *parallel.place((clips, numbers.astype(np.int32)), sharding)
            error, variance = parallel.gather(reconstruct.compare(*arguments))
            keep = columns["mask"] & (view < columns["views"])
            errors.append(error[keep])
            variances.append(variance[keep])
            if view == 0 and (rows := [i for i in np.flatnonzero(keep) if int(columns["index"][i]) in wanted]):
                clips = parallel.gather(reconstruct.show(*arguments))
                shown |= {int(columns["index"][i]): np.rint(255 * clips[i]).astype(np.uint8) for i in rows}
        bad += batch["bad"]
    error, variance = float(np.concatenate(errors).mean()), float(np.concatenate(variances).mean())
    bad = gather_bad(bad)
    summary = {
        "reconstruction": {"loss": error, "explained": 1 - error / max(variance, 1e-12)},
        "coverage": readable / len(videos),
        "num_videos": readable,
        "num_views": most,
        "unreadable": [{"path": b.path, "reason": b.reason} for b in bad],
    }
    pictures = np.stack([shown[i] for i in sorted(shown)]) if shown else np.zeros(0, np.uint8)
    return summary, Reconstructions(pictures, bad)


def picture(pictures: np.ndarray) -> np.ndarray:
    """One picture, uint8 `(height, width, 3)`: for each clip three rows, original, masked, reconstructed; frames go to
    the right.

    Args:
      pictures: uint8 `(N, 3, T, H, W, 3)`.
    """
    count, rows, length, height, width, _ = pictures.shape
    frames = np.linspace(0, length - 1, min(_FRAMES, length)).round().astype(int)
    scale = -(-_LEAST_SIDE // height)
    gap, apart = 2, 8
    tall, wide = scale * height + gap, scale * width + gap
    sheet = np.full((count * (rows * tall + apart) - apart, len(frames) * wide - gap, 3), 255, np.uint8)
    for n, clip in enumerate(pictures):
        for row, video in enumerate(clip):
            for column, frame in enumerate(video[frames]):
                y, x = n * (rows * tall + apart) + row * tall, column * wide
                sheet[y : y + tall - gap, x : x + wide - gap] = frame.repeat(scale, 0).repeat(scale, 1)
    return sheet
