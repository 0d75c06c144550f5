"""Every setting there is, as typed dataclasses: one experiment is one `Config`.

Imports nothing heavy, so that data workers and `--help` stay light.
"""

from vidjax.config.settings import (
    Config,
    ConfigError,
    DataConfig,
    EvalConfig,
    MeshConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
    apply_preset,
    check_flags,
    field_names,
    from_dict,
    mirrors,
    short_video_rule,
    take_kwargs,
    to_dict,
)
from vidjax.config.spec import Spec

__all__ = [
    "Config",
    "ConfigError",
    "DataConfig",
    "EvalConfig",
    "MeshConfig",
    "ModelConfig",
    "OptimizerConfig",
    "Spec",
    "TrainConfig",
    "apply_preset",
    "check_flags",
    "field_names",
    "from_dict",
    "mirrors",
    "short_video_rule",
    "take_kwargs",
    "to_dict",
]
