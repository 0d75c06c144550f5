"""Kinetics-400, VideoMAE ViT-B fine-tuned from its pre-training: MAE's recipe, with a learning rate for every layer.

    python train.py --config=configs/k400_videomae_base.py --workdir=runs/k400_videomae_base \\
        --config.model.init_from=CHECKPOINT --config.data.root=VIDEOS \\
        --config.data.train=kinetics400/train.csv --config.data.eval=kinetics400/val.csv

CHECKPOINT is a pre-training checkpoint of MCG-NJU/VideoMAE (checkpoint.pth), a transformers folder
(MCG-NJU/videomae-base) or runs/k400_videomae_base_pretrain; the log names weights that a classifier does not use.

Published: 81.5 top-1, 95.1 top-5 on the validation set with 5 clips × 3 crops:

    python eval.py --workdir=runs/k400_videomae_base --config.eval.num_clips=5 --config.eval.num_crops=3

Their hardware: 64 GPUs, 6 videos each, 2 clips per video; 75 epochs. Not trained here. Source: MCG-NJU/VideoMAE,
MODEL_ZOO.md and scripts/kinetics/videomae_vit_base_patch16_224_tubemasking_ratio_0.9_epoch_1600/finetune.sh.
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
        # Keeps only results of layers: faster too where a kernel does the attention, as less is written and read.
        model=ModelConfig(name="videomae_base", drop_path=0.1, remat="dots"),
        data=DataConfig(
            dataset="kinetics400",
            sampling=SamplingConfig(
                views=2,  # repeated augmentation
            ),
            augment=AugmentConfig(crop="random_resized", randaugment_m=7.0, randaugment_n=4, erase=0.25),
            reading=ReadingConfig(num_workers=16),
        ),
        task=TaskConfig(classify=ClassifyConfig(label_smoothing=0.1, mixup=0.8, cutmix=1.0)),
        optimizer=OptimizerConfig(
            name="adamw",
            learning_rate=5e-4,
            base_batch=256,
            weight_decay=0.05,
            warmup_epochs=5,
            final_factor=1e-6 / 7.5e-4,
            layer_decay=0.75,
        ),
        train=TrainConfig(batch_size=384, epochs=75, eval_epochs=5, checkpoint_epochs=1),
        eval=EvalConfig(batch_size=256),
    )
