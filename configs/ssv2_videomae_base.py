"""Something-Something V2, VideoMAE ViT-B fine-tuned from its pre-training on the same videos.

    python train.py --config=configs/ssv2_videomae_base.py --workdir=runs/ssv2_videomae_base \\
        --config.model.init_from=CHECKPOINT --config.data.root=VIDEOS \\
        --config.data.train=ssv2/train.json --config.data.eval=ssv2/validation.json

CHECKPOINT as in k400_videomae_base.py, pre-trained on Something-Something V2: there, every 2nd frame and 2400 epochs
(k400_videomae_base_pretrain.py with --config.data.dataset=something_v2 --config.data.stride=2
--config.train.epochs=2400).

Published: 70.8 top-1, 92.4 top-5 on the validation set with 2 clips × 3 crops:

    python eval.py --workdir=runs/ssv2_videomae_base --config.eval.num_clips=2 --config.eval.num_crops=3

Hardware there: 64 GPUs, 6 videos each, 2 clips of a video; 30 epochs. Not trained here. Source: MCG-NJU/VideoMAE,
MODEL_ZOO.md and scripts/ssv2/videomae_vit_base_patch16_224_tubemasking_ratio_0.9_epoch_2400/finetune.sh; frames are
chosen by mmaction2's rule for uniform segments.
"""

from vidjax.config import Config, DataConfig, EvalConfig, ModelConfig, OptimizerConfig, TrainConfig


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="videomae_base", drop_path=0.1),
        data=DataConfig(
            dataset="something_v2",
            train_sampling="mmaction2_uniform",
            eval_sampling="mmaction2_uniform",
            train_views=2,  # repeated augmentation
            train_crop="random_resized",
            flip=False,  # its classes tell left from right
            randaugment_m=7.0,
            randaugment_n=4,
            erase=0.25,
            num_workers=16,
        ),
        optimizer=OptimizerConfig(
            name="adamw",
            learning_rate=5e-4,
            base_batch=256,
            weight_decay=0.05,
            warmup_epochs=5,
            final_factor=1e-6 / 7.5e-4,
            layer_decay=0.75,
        ),
        train=TrainConfig(
            batch_size=384, epochs=30, label_smoothing=0.1, mixup=0.8, cutmix=1.0, eval_epochs=5, checkpoint_epochs=1
        ),
        eval=EvalConfig(batch_size=256),
    )
