"""Kinetics-400, Video Swin-T from an image Swin, by the authors' recipe.

    python train.py --config=configs/k400_swin3d_t.py --workdir=runs/k400_swin3d_t \\
        --config.model.init_from=swin_tiny_patch4_window7_224.pth --config.data.root=VIDEOS \\
        --config.data.train=kinetics400/train.csv --config.data.eval=kinetics400/val.csv

swin_tiny_patch4_window7_224.pth is microsoft/Swin-Transformer's image network, trained on ImageNet-1K.

Published: 78.8 top-1, 93.6 top-5 on the validation set with 4 clips × 3 crops of 224²:

    python eval.py --workdir=runs/k400_swin3d_t --config.eval.num_clips=4 --config.eval.num_crops=3

Their hardware: 8 GPUs, 8 clips each, gradients of 4 such batches for an update; 30 epochs. Not trained here. Source:
SwinTransformer/Video-Swin-Transformer, configs/recognition/swin/swin_tiny_patch244_window877_kinetics400_1k.py and the
table in its README.
"""

from vidjax.config import (
    AugmentConfig,
    Config,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    ReadingConfig,
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="swin3d_t"),
        data=DataConfig(
            dataset="kinetics400", augment=AugmentConfig(crop="random_resized"), reading=ReadingConfig(num_workers=16)
        ),
        optimizer=OptimizerConfig(
            name="adamw",
            learning_rate=1e-3,
            base_batch=256,
            weight_decay=0.02,
            warmup_epochs=2.5,
            backbone_factor=0.1,
        ),
        train=TrainConfig(batch_size=256, accumulate=4, epochs=30, eval_epochs=5, checkpoint_epochs=1),
        eval=EvalConfig(batch_size=64),
    )
