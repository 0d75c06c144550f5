"""Memory of the cache of keys and values with which a network that speaks answers, by shapes alone."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vidjax import config as cfg
from vidjax import parallel
from vidjax.config import Spec
from vidjax.inputs import PromptInput
from vidjax.models.cost import shapes_of
from vidjax.models.state import Arrays, merge, split
from vidjax.models.text_head import TextHead
from vidjax.nn.cached_attention import Cache
from vidjax.wording import things


def cache_of(model: Any, spec: Spec, batch: int, room: int, dtype: Any = None) -> Cache:
    """Shapes of the cache after a network has read videos and prompts of full length.

    Args:
      model: network, real or abstract, whose head is a `TextHead`.
      spec: its spec, whose text has the length of a prompt.
      batch: B, number of texts.
      room: slots for words that are added.
      dtype: type of the network's inputs; None: float32.
    """
    graphdef, params, stats = split(model)

    def prefill(params: Arrays, stats: Arrays, inputs: Mapping[str, jax.Array], ids: jax.Array) -> Cache:
        model: Any = merge(graphdef, params, stats)
        tokens = getattr(model.encode(inputs), model.head.sees)
        return model.head.prefill(tokens, ids, jnp.ones(ids.shape, bool), room)[1]

    text = _prompt(spec)
    inputs = {
        name: jax.ShapeDtypeStruct((batch, *shape), dtype or jnp.float32)
        for name, shape in shapes_of(spec).items()
        if spec.inputs[name] is not text
    }
    return jax.eval_shape(prefill, params, stats, inputs, jax.ShapeDtypeStruct((batch, text.length), jnp.int32))


def cache_figures(model: Any, config: cfg.Config, spec: Spec, mesh: Mapping[str, int]) -> dict[str, Any]:
    """Memory of the cache in evaluation, ready for JSON, under "cache"; empty for a network that does not speak.

    The batch is split over `data` and `fsdp`, as everywhere; the heads of keys and values over `model`, if it divides
    them.

    Args:
      model: network, real or abstract.
      config: config of the run, whose batches, length of captions and beams are taken.
      spec: its spec.
      mesh: number of devices by axis.

    Returns:
      "batch" and "beams", "tokens" (slots of a text: those of the longest prompt, and room for words), "bytes" in all
      and "bytes_per_device".
    """
    if not isinstance(getattr(model, "head", None), TextHead):
        return {}
    settings = getattr(config.task, spec.task)
    batch = config.eval.batch_size
    dtype = parallel.compute_dtype(config.model.compute_dtype)
    cache = cache_of(model, spec, batch * settings.beams, settings.length, dtype)
    shards = mesh["data"] * mesh["fsdp"]
    rows = -(-batch // shards) * settings.beams

    def own(x: Any) -> int:
        shape = [rows, *x.shape[1:]]
        if len(shape) == 4 and shape[2] % mesh["model"] == 0:
            shape[2] //= mesh["model"]
        return np.dtype(x.dtype).itemsize * math.prod(shape)

    layers = jax.tree.leaves(cache.layers)
    figures = {
        "batch": batch,
        "beams": settings.beams,
        "tokens": cache.seen.shape[1],
        "bytes": sum(np.dtype(x.dtype).itemsize * x.size for x in layers),
        "bytes_per_device": sum(map(own, layers)),
    }
    return {"cache": figures}


def cache_row(figures: Mapping[str, Any]) -> tuple[str, str]:
    """Table row of these figures."""
    beams = f", {figures['beams']} beams" if figures["beams"] > 1 else ""
    size = f"{figures['bytes_per_device'] / 2**30:.3g} GiB per device"
    return "cache of answers", f"{size} for {things(figures['batch'], 'video')}{beams}, {figures['tokens']} tokens each"


def _prompt(spec: Spec) -> PromptInput:
    (text,) = (value for value in spec.inputs.values() if isinstance(value, PromptInput))
    return text
