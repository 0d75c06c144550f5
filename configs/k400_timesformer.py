"""Kinetics-400, TimeSformer with divided attention from an image ViT, by the authors' recipe.

    python train.py --config=configs/k400_timesformer.py --workdir=runs/k400_timesformer \\
        --config.model.init_from=vit_base_patch16_224.pth --config.data.root=VIDEOS \\
        --config.data.train=kinetics400/train.csv --config.data.eval=kinetics400/val.csv

vit_base_patch16_224.pth is timm's image network, the CSV files are Kinetics' own annotations. Attention over time
starts with a projection of zeros: initial outputs are those of the image network.

Published: 77.9 top-1, 93.2 top-5 on the validation set with 1 clip × 3 crops of 224²:

    python eval.py --workdir=runs/k400_timesformer --config.eval.num_crops=3

Their hardware: 8 GPUs, 8 clips per update over all of them, 15 epochs. Not trained here. Source:
facebookresearch/TimeSformer, configs/Kinetics/TimeSformer_divST_8x32_224.yaml and the table in its README.
"""

from vidjax.config import (
    AugmentConfig,
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
        model=ModelConfig(name="timesformer_base_divided"),
        data=DataConfig(
            dataset="kinetics400",
            clip=ClipConfig(size=224),
            augment=AugmentConfig(crop="short_side", short_side=(256, 320)),
            reading=ReadingConfig(num_workers=16),
        ),
        optimizer=OptimizerConfig(
            name="sgd",
            learning_rate=0.005,
            base_batch=8,
            schedule="steps",
            step_epochs=(11.0, 14.0),
            momentum=0.9,
            weight_decay=1e-4,
        ),
        train=TrainConfig(batch_size=8, epochs=15, eval_epochs=5, checkpoint_epochs=1),
        eval=EvalConfig(num_clips=1, batch_size=8),
    )
