"""Kinetics-400, I3D: an ImageNet ResNet-50 with kernels inflated over time, by mmaction2's recipe.

    python train.py --config=configs/k400_i3d_r50.py --workdir=runs/k400_i3d \\
        --config.model.init_from=resnet50.pth --config.data.root=VIDEOS \\
        --config.data.train=kinetics400/train.csv --config.data.eval=kinetics400/val.csv

resnet50.pth is torchvision's or timm's image network, the CSV files are Kinetics' own annotations.

Published with this schedule: 73.47 top-1, 91.27 top-5 on the validation set with 10 clips × 3 crops of 256²:

    python eval.py --workdir=runs/k400_i3d --config.eval.num_clips=10 --config.eval.num_crops=3 \\
        --config.data.clip.size=256 --config.data.clip.resize="(256,)"

Their hardware: 8 GPUs, 8 clips each, 100 epochs. Not trained here. Source: mmaction2,
configs/recognition/i3d/i3d_imagenet-pretrained-r50_8xb8-32x2x1-100e_kinetics400-rgb.py and the table beside it.
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
        model=ModelConfig(name="i3d_r50_mm", inflation="average"),
        data=DataConfig(
            dataset="kinetics400",
            sampling=SamplingConfig(train="mmaction2_sample", eval="mmaction2_sample"),
            augment=AugmentConfig(crop="multi_scale", crop_scales=(1.0, 0.8), crop_gap=0, crop_positions=5),
            reading=ReadingConfig(num_workers=16),
        ),
        optimizer=OptimizerConfig(
            name="sgd",
            learning_rate=0.01,
            base_batch=64,
            schedule="steps",
            step_epochs=(40.0, 80.0),
            momentum=0.9,
            weight_decay=1e-4,
            clip_norm=40.0,
        ),
        train=TrainConfig(batch_size=64, epochs=100, eval_epochs=5, checkpoint_epochs=1),
        eval=EvalConfig(num_clips=1, batch_size=64),
    )
