"""A narrower network from a trained one (`vidjax prune RUN OUT --share 0.5`), to be fine-tuned."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from vidjax.apps.run_costs import gmacs_of
from vidjax.config import to_dict
from vidjax.errors import UserError
from vidjax.models.build import build_model
from vidjax.models.pruning import narrower, prune
from vidjax.models.state import assign, split
from vidjax.training.checkpoints import Meta, load_model, save_model

_TOLERANCE = 1e-3  # relative error of the narrower network against the trained one without the channels


def prune_run(run: str, out: str, *, share: float = 0.5, step: int | None = None) -> int:
    """Write the narrower network of a run, ready for `predict`, `eval.py` and `model.init_from`.

    Args:
      run: work directory of a run, or folder written by `convert`.
      out: folder to write it to.
      share: share of the channels to keep, above 0 and below 1.
      step: update number of the checkpoint; None: the best.

    Returns:
      0.

    Raises:
      CheckpointFolderError: if `run` holds no checkpoint, or `out` already does.
      UserError: if the network takes anything but one video, its width is no argument, or its channels cannot be cut
        out.
    """
    if not 0 < share < 1:
        raise UserError(f"--share {share:g}: give the share of the channels to keep, above 0 and below 1")
    model, meta, _ = load_model(run, step=step)
    name, count = meta.config.model.name, len(meta.labels.names)
    video = meta.spec.video
    kwargs = narrower(name, meta.config.model.kwargs, share)
    config = dataclasses.replace(meta.config, model=dataclasses.replace(meta.config.model, kwargs=kwargs))
    small: Any = build_model(config, count, dtype=None)
    small.eval()
    before, after = ({path: a for part in split(each)[1:] for path, a in part.items()} for each in (model, small))
    found = prune({path: np.asarray(a) for path, a in before.items()}, {path: a.shape for path, a in after.items()})
    assign(small, {path: jnp.asarray(a) for path, a in found.arrays.items()})
    assign(model, {path: jnp.asarray(a) for path, a in found.masked.items()})
    clip = np.random.default_rng(0).normal(size=(1, video.num_frames, video.size, video.size, video.channels))
    given = jnp.asarray(clip, jnp.float32)
    expected, got = (np.asarray(jax.jit(lambda clip, each=each: each(clip))(given)) for each in (model, small))
    error = float(np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-12))
    if not error <= _TOLERANCE:
        raise UserError(
            f"{name}: its channels cannot be cut out, as they are joined or normalised together (the narrower network "
            f"differs by {error:.2g} from the trained one without them)"
        )
    save_model(out, small, Meta(config, meta.spec, meta.labels))
    costs = [gmacs_of(to_dict(each), count) for each in (meta.config, config)]
    sizes = [sum(a.size for a in part.values()) for part in (before, after)]
    settings = " ".join(
        f"--config.model.kwargs.{key}={value!r}".replace(" ", "")
        for key, value in kwargs.items()
        if meta.config.model.kwargs.get(key) != value
    )
    console = Console()
    console.print(
        f"{name} in {out}: {100 * costs[1] / costs[0]:.0f} % of the multiply-adds ({costs[1]:.3g} of {costs[0]:.3g} "
        f"GMACs per clip), {100 * sizes[1] / sizes[0]:.0f} % of the parameters",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    console.print(
        f"now fine-tune it: the config of {run} with --config.model.init_from={out} {settings}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    return 0
