"""Cost of a run's network, from what the run has written down."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from vidjax import config as cfg
from vidjax.models.cost import module_cost, shapes_of
from vidjax.models.exits import stage_gmacs


def gmacs_of(config: Mapping[str, Any], num_classes: int) -> float:
    """Multiply-adds in 10⁹ of a clip in the network of a run.

    Args:
      config: content of the run's `config.json`.
      num_classes: K, outputs of the network.
    """
    model, spec = _network_of(cfg.from_dict(dict(config)), num_classes)
    return module_cost(model, shapes_of(spec)).gmacs


def gmacs_of_stages(config: Mapping[str, Any], num_classes: int, layers: tuple[str, ...]) -> tuple[float, ...]:
    """Multiply-adds in 10⁹ of a clip in the stages of a run's network, up to each exit and to the end.

    Args:
      config: content of the run's `config.json`.
      num_classes: K, outputs of the network.
      layers: paths of the layers with an exit.
    """
    run = cfg.from_dict(dict(config))
    return stage_gmacs(
        *_network_of(dataclasses.replace(run, model=dataclasses.replace(run.model, exits=layers)), num_classes)
    )


def _network_of(run: cfg.Config, num_classes: int) -> tuple[Any, cfg.Spec]:
    from vidjax.config.spec import resolve_spec
    from vidjax.models.build import build_model
    from vidjax.models.registry import get_spec

    spec = resolve_spec(get_spec(run.model.name, run.model.kwargs), run.data, run.model.input)
    return build_model(run, num_classes, dtype=None, abstract=True), spec
