"""A masked autoencoder so small that a run takes seconds."""

import numpy as np

from vidjax.config import (
    ClipConfig,
    Config,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    ReadingConfig,
    TrainConfig,
)
from vidjax.models.registry import create_model, get_spec

SMALL = {"dim": 16, "depth": 2, "heads": 2, "num_frames": 2, "size": 16}
DECODER = {"decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2, "mask_ratio": 0.5}
SPEC = get_spec("videomae_tiny_pretrain").with_video(size=16, num_frames=2)


def network(**kwargs):
    return create_model("videomae_tiny_pretrain", **SMALL, **DECODER, **kwargs)


def make_batch(seed=0, views=1):
    video = np.random.default_rng(seed).integers(0, 256, (8, views, 2, 16, 16, 3)).astype(np.uint8)
    return {"inputs": {"video": video}, "targets": {}}


def pretrain_config(data, **settings):
    return Config(
        model=ModelConfig(name="videomae_tiny_pretrain", kwargs={**SMALL, **DECODER}),
        data=DataConfig(train=str(data), eval_share=0.3, clip=ClipConfig(num_frames=2, size=16, resize=(20,)),
                        reading=ReadingConfig(isolate=False)),
        optimizer=OptimizerConfig(name="adamw", learning_rate=0.01, b2=0.95),
        train=TrainConfig(**{"batch_size": 8, "steps": 4, "log_every": 2, "eval_epochs": 0, "checkpoint_epochs": 1,
                             "ema_decay": 0.9, **settings}),
        eval=EvalConfig(num_clips=2, batch_size=8),
    )  # fmt: skip
