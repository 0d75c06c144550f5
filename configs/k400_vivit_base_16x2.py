"""Kinetics-400, ViViT-B/16x2 (model 1) from an image ViT, by the authors' recipe.

    python train.py --config=configs/k400_vivit_base_16x2.py --workdir=runs/k400_vivit_base_16x2 \\
        --config.model.init_from=vit_base_patch16_224_in21k.pth --config.data.root=VIDEOS \\
        --config.data.train=kinetics400/train.csv --config.data.eval=kinetics400/val.csv

vit_base_patch16_224_in21k.pth is timm's image network, trained on ImageNet-21K; its kernel goes into the middle frame
of each tubelet.

Published: 79.9 top-1 on the validation set with 4 clips × 3 crops of 224²:

    python eval.py --workdir=runs/k400_vivit_base_16x2 --config.eval.num_clips=4 --config.eval.num_crops=3

Their brightness changes by a sum, by up to an eighth of white; here by a factor. Their hardware: not given; 64 clips
per update, 30 epochs. Not trained here. Source: google-research/scenic, projects/vivit/configs/kinetics400/
vivit_base_k400.py and the table in projects/vivit/README.md; colours: google-deepmind/dmvr, processors.py.
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
        model=ModelConfig(name="vivit_base_16x2"),
        data=DataConfig(
            dataset="kinetics400",
            augment=AugmentConfig(
                crop="short_side",
                short_side=(230, 340),  # 256 times 0.9 to 1.33
                colour_jitter=0.4,
                hue=0.2,
                jittered=0.8,
                greyscale=0.1,
            ),
            reading=ReadingConfig(num_workers=16),
        ),
        optimizer=OptimizerConfig(
            name="sgd",
            learning_rate=0.1,
            base_batch=64,
            momentum=0.9,
            weight_decay=0.0,
            warmup_epochs=2.5,
            clip_norm=1.0,
        ),
        train=TrainConfig(batch_size=64, epochs=30, eval_epochs=5, checkpoint_epochs=1),
        eval=EvalConfig(batch_size=64),
    )
