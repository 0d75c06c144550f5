"""Where a run's weights come from: a vidjax checkpoint or a file of another framework."""

import logging

from flax import nnx

from vidjax.models.inputs import fit_differences
from vidjax.models.state import assign, split
from vidjax.training import checkpoints as ckpt
from vidjax.weights import load_into

logger = logging.getLogger("vidjax")


def start_from(model: nnx.Module, checkpoint: str, name: str) -> None:
    """Set `model`'s arrays from a vidjax checkpoint folder or a file of another framework; a head of another size
    stays new.

    Raises:
      CheckpointError, CheckpointFolderError: if anything but the head does not fit, naming all of it.
    """
    if not ckpt.is_checkpoint(checkpoint):
        load_into(model, checkpoint, name=name)
        return
    arrays, meta = ckpt.load_arrays(checkpoint)
    _, params, stats = split(model)
    own = params | stats
    arrays = {p: fit_differences(a, own[p].shape) if p in own else a for p, a in arrays.items()}
    new_head = {p for p in own if p.startswith("head.") and p in arrays and arrays[p].shape != own[p].shape}
    kept = {p: a for p, a in arrays.items() if p not in new_head}
    if wrong := ckpt.mismatches(kept, {p: a for p, a in own.items() if p not in new_head}):
        raise ckpt.CheckpointFolderError(
            f"{checkpoint} ({meta.config.model.name}) does not fit {name}:\n" + "\n".join(wrong)
        )
    if new_head:
        logger.warning(
            "%s has %d classes, not %d: the head is newly initialised",
            checkpoint,
            len(meta.class_names),
            own["head.bias"].shape[0],
        )
    assign(model, kept)
