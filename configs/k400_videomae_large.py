"""Kinetics-400, VideoMAE ViT-L fine-tuned from its pre-training.

    python train.py --config=configs/k400_videomae_large.py --workdir=runs/k400_videomae_large \\
        --config.model.init_from=CHECKPOINT --config.data.root=VIDEOS \\
        --config.data.train=kinetics400/train.csv --config.data.eval=kinetics400/val.csv

CHECKPOINT as in k400_videomae_base.py, of ViT-L. Published: 85.2 top-1, 96.8 top-5 on the validation set with 5 clips ×
3 crops:

    python eval.py --workdir=runs/k400_videomae_large --config.eval.num_clips=5 --config.eval.num_crops=3

Hardware there: 64 GPUs, 2 videos each, 2 clips of a video; 35 epochs. Not trained here. Source: MCG-NJU/VideoMAE,
MODEL_ZOO.md and scripts/kinetics/videomae_vit_large_patch16_224_tubemasking_ratio_0.9_epoch_1600/finetune.sh.
"""

from vidjax.config import Config, DataConfig, EvalConfig, ModelConfig, OptimizerConfig, TrainConfig


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="videomae_large", drop_path=0.1, remat="full"),
        data=DataConfig(
            dataset="kinetics400",
            train_views=2,  # repeated augmentation
            train_crop="random_resized",
            randaugment_m=7.0,
            randaugment_n=4,
            erase=0.25,
            num_workers=16,
        ),
        optimizer=OptimizerConfig(
            name="adamw",
            learning_rate=2e-3,
            base_batch=256,
            weight_decay=0.05,
            warmup_epochs=5,
            final_factor=1e-6 / 1e-3,
            layer_decay=0.75,
        ),
        train=TrainConfig(
            batch_size=128, epochs=35, label_smoothing=0.1, mixup=0.8, cutmix=1.0, eval_epochs=5, checkpoint_epochs=1
        ),
        eval=EvalConfig(batch_size=128),
    )
