"""Explanation of a network's answer for one video (`vidjax explain RUN VIDEO`)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from vidjax.apps.overlay import enlarged, overlaid, pictures_of, write_overlay
from vidjax.errors import UserError
from vidjax.lettering import lettering
from vidjax.models.base import VideoNetwork
from vidjax.models.rollout import rollout
from vidjax.models.saliency import METHODS, ClassActivation, occluded, reordered
from vidjax.predictor import Predictor
from vidjax.progress import progress_bar
from vidjax.wording import things

_SHOWN = 8  # frames in the picture


def explain(
    folder: str,
    video: str,
    *,
    out: str,
    class_name: str = "",
    layer: str = "",
    method: str = METHODS[0],
    blocks: int = 4,
    num_clips: int | None = None,
) -> int:
    """Write where and when a network sees its answer, and whether the order of frames matters to it.

    Args:
      folder: work directory of a run, or folder written by convert.
      video: file to explain.
      out: folder to write `explanation.mp4`, `explanation.png` and `explanation.json` to.
      class_name: class to explain; empty: the best of the video.
      layer: path of the layer of the maps; empty: the last with places.
      method: "hirescam" or "gradcam", see `vidjax.models.saliency.ClassActivation`; or "occlusion", the loss of the
        logit when a block is covered; or "rollout", see `vidjax.models.rollout`, which is the same for all classes.
      blocks: for "occlusion": number of blocks along each axis of time and space.
      num_clips: clips of the video; None: as in the run's config.

    Raises:
      UserError: if the class is unknown, the network takes no video or has no classifier, there is a layer for
        "occlusion" or "rollout", or no attention for "rollout".
      VideoError: if the file cannot be decoded.
    """
    predictor = Predictor(folder, num_clips=num_clips, num_crops=1)
    if "video" not in predictor.spec.inputs:
        raise UserError(f"{folder}: {predictor.spec.name} takes no video, of which places could be shown")
    if layer and method in ("occlusion", "rollout"):
        seen = "covered blocks are of the clip" if method == "occlusion" else "the rollout is of all attention"
        raise UserError(f"layer = {layer!r}: {seen}, not of a layer; leave it out")
    prediction, read, views = predictor.with_views(video)
    assert prediction.scores is not None, "errors of one file are raised"
    number = class_number(class_name or prediction.classes[0].name, predictor.class_names)
    entered = predictor.entered(read)
    network = cast(VideoNetwork, predictor.network)
    logits = jax.jit(lambda inputs: network(inputs))
    classes = np.full(1, number)
    frames, height, width = entered["video"].shape[1:4]
    grid = (min(blocks, frames), min(blocks, height), min(blocks, width))
    maps: Any = []
    losses, orders, seen = [], [], f"{'×'.join(map(str, grid))} blocks"
    if method == "rollout":
        maps, count = rollout(network, entered)
        seen = things(count, "attention")
    elif method != "occlusion":
        every = jnp.full(len(views), number)
        maps, seen = ClassActivation(network, layer)(entered, every, method)
    with progress_bar(Console(stderr=True)) as bar:
        task = bar.add_task("explain", total=len(views), info="")
        for view in range(len(views)):
            clip = {name: array[view : view + 1] for name, array in entered.items()}
            if method == "occlusion":
                maps.append(occluded(logits, clip, classes, grid)[0])
            losses.append(occluded(logits, clip, classes, (frames, 1, 1))[0, :, 0, 0])
            probabilities = reordered(logits, clip, classes, several=predictor.several)
            orders.append({name: float(value[0]) for name, value in probabilities.items()})
            bar.advance(task)
    heats = [enlarged(each, (frames, height, width)) for each in maps]
    order = {name: float(np.mean([each[name] for each in orders])) for name in orders[0]}
    told = {
        "video": video,
        "class": predictor.class_names[number],
        "score": float(prediction.scores[number]),
        "method": method,
        "layer": seen,
        "order": order,
        "clips": [
            {"times": times.tolist(), "loss_when_covered": loss.tolist()}
            for times, loss in zip(views.times, losses, strict=True)
        ],
    }
    where = Path(out)
    where.mkdir(parents=True, exist_ok=True)
    pictures = pictures_of(read["video"], predictor.spec.video)
    write_overlay(where / "explanation.mp4", pictures, heats, views.times)
    _draw(where / "explanation.png", told, pictures, heats, views.times, losses)
    (where / "explanation.json").write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    console = Console()
    console.print(
        f"{told['class']} {100 * prediction.scores[number]:.1f} %; with its frames "
        + ", ".join(f"{name} {100 * value:.1f} %" for name, value in order.items() if name != "as it is")
        + f"; results in {where}",
        highlight=False,
        soft_wrap=True,
    )
    return 0


def class_number(name: str, names: Sequence[str]) -> int:
    """Number of a class by its name.

    Raises:
      UserError: if there is no such class.
    """
    if name not in names:
        raise UserError(f"{name!r} is no class of this network; it has {', '.join(names[:10])}, … ({len(names)})")
    return list(names).index(name)


def _draw(
    path: Path,
    told: dict[str, Any],
    pictures: np.ndarray,
    heats: list[np.ndarray],
    times: np.ndarray,
    losses: list[np.ndarray],
) -> None:
    from matplotlib.figure import Figure

    best = int(np.argmax([loss.max() for loss in losses]))
    shown = np.unique(np.linspace(0, len(heats[best]) - 1, _SHOWN).round().astype(int))
    title = f"{told['class']} in {Path(told['video']).name}: {told['method']}, {told['layer']}"
    with lettering([title]) as letters:
        figure = Figure(figsize=(1.5 * len(shown), 6.6), layout="constrained")
        grid = figure.add_gridspec(3, 2 * len(shown), height_ratios=(1, 1, 1.6))
        for column, frame in enumerate(shown):
            picture, heat = pictures[best][frame], heats[best][frame]
            for row, content in enumerate((picture, overlaid(picture, heat))):
                axes: Any = figure.add_subplot(grid[row, 2 * column : 2 * column + 2])
                axes.imshow(content)
                axes.set_axis_off()
                if not row:
                    axes.set_title(f"{times[best][frame]:.2f} s", fontsize=8)
        axes = figure.add_subplot(grid[2, : len(shown)])
        for clip, (time, loss) in enumerate(zip(times, losses, strict=True)):
            axes.plot(time, loss, "o-", markersize=3, label=f"clip {clip + 1}")
        axes.axhline(0, color="#888", linewidth=0.8)
        axes.set(xlabel="time of the covered frame, s", ylabel="loss of the logit")
        axes.grid(alpha=0.3)
        if len(losses) > 1:
            axes.legend(frameon=False, fontsize="x-small")
        axes = figure.add_subplot(grid[2, len(shown) :])
        axes.barh(list(told["order"]), [100 * value for value in told["order"].values()], color="#7aa6d8")
        axes.set(xlim=(0, 100), xlabel="probability by order of frames, %")
        axes.invert_yaxis()
        axes.grid(axis="x", alpha=0.3)
        figure.suptitle(letters(title), fontsize=10)
        figure.savefig(path, dpi=110)
