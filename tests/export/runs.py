"""A small run with drawn weights, and its videos."""

from pathlib import Path

import vidjax
from tests.models.abstract import filled
from vidjax.config import ClipConfig, Config, DataConfig, EvalConfig, ModelConfig
from vidjax.config.spec import resolve_spec
from vidjax.data.records import LabelSpace
from vidjax.models.registry import abstract_model
from vidjax.training.checkpoints import Meta, save_model

NAMES = ("left", "right")
CLIP = ClipConfig(num_frames=4, size=16, resize=(16,))


def write_run(folder: Path, videos: Path, name: str = "conv3d_tiny", several: bool = False) -> Path:
    """A network for clips of 4 frames of 16², with statistics of batch norms that are not those of the start."""
    data = DataConfig(clip=CLIP, train=str(videos), eval_share=0.5)
    config = Config(
        model=ModelConfig(name=name, compute_dtype="float32"), data=data, eval=EvalConfig(num_clips=2, batch_size=4)
    )
    spec = resolve_spec(vidjax.get_spec(name), data)
    model = filled(abstract_model(name, num_classes=len(NAMES)))
    return save_model(folder, model, Meta(config, spec, LabelSpace(NAMES, several)))
