"""AVA-Kinetics, VideoMAE ViT-B fine-tuned on Kinetics-400: boxes around people with their actions, mmaction2's recipe.

    python train.py --config=configs/ava_videomae_base.py --workdir=runs/ava_videomae_base \\
        --config.model.init_from=CHECKPOINT --config.data.root=VIDEOS --config.data.train=ANNOTATIONS \\
        --config.task.detect.train_boxes=ava_dense_proposals_train.FAIR.recall_93.9.pkl \\
        --config.task.detect.boxes=ava_dense_proposals_val.FAIR.recall_93.9.pkl \\
        --config.task.detect.exclude=ANNOTATIONS/ava_val_excluded_timestamps_v2.2.csv

CHECKPOINT is a classifier of Kinetics-400 (`videomae_base`) by mmaction2, MCG-NJU/VideoMAE or transformers. VIDEOS has
AVA's films, cut from minute 15 to 30, and Kinetics' clips, named `ID_000010_000020.mp4`; ANNOTATIONS is the folder of
ava_train_v2.2.csv, kinetics_train_v1.0.csv and the same for val. The proposals are mmaction2's (its tools/data/ava).

Published: 33.6 mAP on AVA v2.2 by mmaction2's rules, which leave out classes that are never predicted:

    python eval.py --workdir=runs/ava_videomae_base --config.data.dataset=ava --config.eval.num_crops=3 \\
        --config.task.detect.protocol=mmaction2

Their hardware: 8 GPUs, 8 clips each. Not trained here. Source: open-mmlab/mmaction2,
configs/detection/videomae/vit-base-p16_videomae-k400-pre_8xb8-16x4x1-20e-adamw_ava-kinetics-rgb.py.
"""

from vidjax.config import (
    AugmentConfig,
    ClipConfig,
    Config,
    DataConfig,
    DetectConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    ReadingConfig,
    TaskConfig,
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        # Keeps only results of layers: faster too where a kernel does the attention, as less is written and read.
        model=ModelConfig(name="videomae_base_ava", drop_path=0.2, remat="dots"),
        data=DataConfig(
            dataset="ava_kinetics",
            clip=ClipConfig(size=256, resize=(256,)),
            augment=AugmentConfig(crop="short_side", short_side=(256, 320)),
            reading=ReadingConfig(num_workers=16),
        ),
        task=TaskConfig(detect=DetectConfig(min_score=0.9, unlabelled="ignore", file_start=900.0)),
        optimizer=OptimizerConfig(
            name="adamw",
            learning_rate=1.25e-4,
            base_batch=64,
            warmup_epochs=5,
            warmup_factor=0.1,
            weight_decay=0.05,
            layer_decay=0.75,
            clip_norm=40.0,
        ),
        train=TrainConfig(batch_size=64, epochs=20, eval_epochs=1, checkpoint_epochs=1),
        eval=EvalConfig(batch_size=32),
    )
