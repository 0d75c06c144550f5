"""All settings as typed dataclasses: one experiment is one `Config`.

Imports nothing heavy, so that data workers and `--help` stay light.
"""

from vidjax.config.caption_settings import CaptionConfig
from vidjax.config.data_settings import (
    AugmentConfig,
    ClipConfig,
    DataConfig,
    FeaturesConfig,
    ReadingConfig,
    SamplingConfig,
    apply_preset,
    mirrors,
    short_video_rule,
)
from vidjax.config.detect_settings import DetectConfig
from vidjax.config.optical_flow_settings import OpticalFlowConfig
from vidjax.config.overrides import overridden, split_arguments
from vidjax.config.pair_settings import PairConfig
from vidjax.config.retrieve_settings import RetrieveConfig
from vidjax.config.section import ConfigError, Section, evaluated_names
from vidjax.config.settings import (
    ClassifyConfig,
    Config,
    EvalConfig,
    LocaliseConfig,
    MeshConfig,
    ModelConfig,
    OptimizerConfig,
    ReconstructConfig,
    TaskConfig,
    TrainConfig,
)
from vidjax.config.sound_settings import SoundConfig
from vidjax.config.spec import Spec
from vidjax.config.stored import field_names, from_dict, setting, to_dict, with_settings
from vidjax.config.text_settings import TextConfig

__all__ = [
    "AugmentConfig", "CaptionConfig", "ClassifyConfig", "ClipConfig", "Config", "ConfigError", "DataConfig",
    "DetectConfig", "EvalConfig", "FeaturesConfig", "LocaliseConfig", "MeshConfig", "ModelConfig", "OpticalFlowConfig",
    "OptimizerConfig", "PairConfig", "ReadingConfig", "ReconstructConfig", "RetrieveConfig", "SamplingConfig",
    "Section", "SoundConfig", "Spec", "TaskConfig", "TextConfig", "TrainConfig", "apply_preset", "evaluated_names",
    "field_names", "from_dict", "mirrors", "overridden", "setting", "short_video_rule", "split_arguments", "to_dict",
    "with_settings",
]  # fmt: skip
