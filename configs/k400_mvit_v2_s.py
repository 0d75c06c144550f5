"""Kinetics-400, MViTv2-S from scratch, by its authors' recipe.

    python train.py --config=configs/k400_mvit_v2_s.py --workdir=runs/k400_mvit_v2_s --config.data.root=VIDEOS \\
        --config.data.train=kinetics400/train.csv --config.data.eval=kinetics400/val.csv

Published: 81.0 top-1, 94.6 top-5 on the validation set with 5 clips × 1 crop of 224²:

    python eval.py --workdir=runs/k400_mvit_v2_s --config.eval.num_clips=5

Their hardware: a machine of 8 GPUs takes 16 videos per update, 2 clips of each, at a learning rate of 1e-4; with more
machines both grow, here with train.batch_size. 200 epochs. Not trained here. Source: facebookresearch/SlowFast,
configs/Kinetics/MVITv2_S_16x4.yaml and MODEL_ZOO.md.
"""

from vidjax.config import (
    AugmentConfig,
    ClassifyConfig,
    Config,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    ReadingConfig,
    SamplingConfig,
    TaskConfig,
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="mvit_v2_s"),
        data=DataConfig(
            dataset="kinetics400",
            sampling=SamplingConfig(
                train="slowfast_offset",
                eval="slowfast_offset",
                views=2,  # repeated augmentation
            ),
            augment=AugmentConfig(crop="random_resized", randaugment_m=7.0, randaugment_n=4, erase=0.25),
            reading=ReadingConfig(num_workers=16),
        ),
        task=TaskConfig(classify=ClassifyConfig(label_smoothing=0.1, mixup=0.8, cutmix=1.0)),
        optimizer=OptimizerConfig(
            name="adamw",
            learning_rate=1e-4,
            base_batch=16,
            weight_decay=0.05,
            warmup_epochs=30,
            warmup_factor=0.01,
            final_factor=0.01,
            clip_norm=1.0,
        ),
        train=TrainConfig(batch_size=256, epochs=200, eval_epochs=10, checkpoint_epochs=1),
        eval=EvalConfig(batch_size=64),
    )
