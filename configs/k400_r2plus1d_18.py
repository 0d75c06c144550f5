"""Kinetics-400, R(2+1)D-18 from scratch, by torchvision's recipe.

    python train.py --config=configs/k400_r2plus1d_18.py --workdir=runs/k400_r2plus1d_18 \\
        --config.data.root=VIDEOS \\
        --config.data.train=kinetics400/train.csv --config.data.eval=kinetics400/val.csv

Published: 67.46 top-1, 86.18 top-5 with 5 clips:

    python eval.py --workdir=runs/k400_r2plus1d_18 --config.eval.num_clips=5

Their hardware: 64 V100 GPUs, 24 clips each. Its 45 epochs take 5 clips of every video, so they are 225 passes here.
Not trained here. Source: torchvision, torchvision/models/video/README.md and references/video_classification/train.py.
"""

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


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="r2plus1d_18"),
        data=DataConfig(
            dataset="kinetics400", clip=ClipConfig(preset="torchvision_resnet"), reading=ReadingConfig(num_workers=16)
        ),
        optimizer=OptimizerConfig(
            name="sgd",
            learning_rate=0.01,
            base_batch=24,
            schedule="steps",
            step_epochs=(100.0, 150.0, 200.0),
            warmup_epochs=50.0,
            warmup_factor=0.001,
            momentum=0.9,
            weight_decay=1e-4,
        ),
        train=TrainConfig(batch_size=1536, epochs=225, eval_epochs=5, checkpoint_epochs=1),
        eval=EvalConfig(num_clips=1, batch_size=64),
    )
