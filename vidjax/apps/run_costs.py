"""Cost of a run's network, from what the run has written down."""

from collections.abc import Mapping
from typing import Any

from vidjax import config as cfg


def gmacs_of(config: Mapping[str, Any], num_classes: int) -> float:
    """Multiply-adds in 10⁹ of a clip in the network of a run.

    Args:
      config: content of the run's `config.json`.
      num_classes: K, outputs of the network.
    """
    from vidjax.config.spec import resolve_spec
    from vidjax.models.build import build_model
    from vidjax.models.cost import module_cost, shapes_of
    from vidjax.models.registry import get_spec

    run = cfg.from_dict(dict(config))
    spec = resolve_spec(get_spec(run.model.name, run.model.kwargs), run.data, run.model.input)
    model = build_model(run, num_classes, dtype=None, abstract=True)
    return module_cost(model, shapes_of(spec)).gmacs
