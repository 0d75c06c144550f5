"""Cost of a run's network, from what the run has written down."""

from collections.abc import Mapping
from typing import Any

from vidjax import config as cfg
from vidjax.models.cost import Cost, module_cost, shapes_of


def gmacs_of(config: Mapping[str, Any], num_classes: int) -> float:
    """Multiply-adds in 10⁹ of a clip in the network of a run.

    Args:
      config: content of the run's `config.json`.
      num_classes: K, outputs of the network.
    """
    return _cost_of(config, num_classes).gmacs


def rest_of(early: Mapping[str, Any], whole: Mapping[str, Any], num_classes: int) -> float:
    """Multiply-adds in 10⁹ of a clip from the layer of an early exit to the answer of the whole network.

    Args:
      early: content of the `config.json` of the run of a linear probe on the layer.
      whole: that of the run of the network.
      num_classes: K, outputs of both.
    """
    exit_cost = _cost_of(early, num_classes)
    head = sum(layer.macs for layer in exit_cost.layers if layer.path == "head")
    return (_cost_of(whole, num_classes).macs - exit_cost.macs + head) / 1e9


def _cost_of(config: Mapping[str, Any], num_classes: int) -> Cost:
    from vidjax.config.spec import resolve_spec
    from vidjax.models.build import build_model
    from vidjax.models.registry import get_spec

    run = cfg.from_dict(dict(config))
    spec = resolve_spec(get_spec(run.model.name, run.model.kwargs), run.data, run.model.input)
    model = build_model(run, num_classes, dtype=None, abstract=True)
    return module_cost(model, shapes_of(spec))
