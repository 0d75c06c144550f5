"""Kinetics-400, TSN: 8 frames spread over the video, from ImageNet weights, by mmaction2's recipe.

    python train.py --config=configs/k400_tsn_r50.py --workdir=runs/k400_tsn_r50 \\
        --config.model.init_from=resnet50.pth \\
        --config.data.root=VIDEOS \\
        --config.data.train=kinetics400/train.csv --config.data.eval=kinetics400/val.csv

Published with this schedule: 74.12 top-1, 91.34 top-5 with 25 frames × 10 crops:

    python eval.py --workdir=runs/k400_tsn_r50 --config.data.clip.num_frames=25 --config.eval.num_crops=10

Their hardware: 8 GPUs, 32 videos each. Not trained here. Source: mmaction2,
configs/recognition/tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x8-100e_kinetics400-rgb.py.
"""

from vidjax.config import (
    AugmentConfig,
    Config,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    ReadingConfig,
    SamplingConfig,
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="tsn_r50"),
        data=DataConfig(
            dataset="kinetics400",
            sampling=SamplingConfig(train="mmaction2_tsn", eval="mmaction2_tsn"),
            augment=AugmentConfig(crop="multi_scale", crop_positions=5),
            reading=ReadingConfig(num_workers=16),
        ),
        optimizer=OptimizerConfig(
            name="sgd",
            learning_rate=0.01,
            base_batch=256,
            schedule="steps",
            step_epochs=(40.0, 80.0),
            momentum=0.9,
            weight_decay=1e-4,
            clip_norm=40.0,
        ),
        train=TrainConfig(batch_size=256, epochs=100, eval_epochs=5, checkpoint_epochs=1),
        eval=EvalConfig(num_clips=1, batch_size=64),
    )
