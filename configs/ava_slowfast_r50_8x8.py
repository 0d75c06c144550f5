"""AVA, SlowFast 8×8 from Kinetics-400 weights: boxes around people with their actions, the authors' recipe.

    python train.py --config=configs/ava_slowfast_r50_8x8.py --workdir=runs/ava_slowfast_r50_8x8 \\
        --config.model.init_from=SLOWFAST_8x8_R50.pyth --config.data.root=VIDEOS --config.data.train=ANNOTATIONS \\
        --config.task.detect.train_boxes=ava_detection_train_boxes_and_labels_include_negative_v2.2.csv \\
        --config.task.detect.boxes=ava_detection_val_boxes_and_labels.csv \\
        --config.task.detect.exclude=ANNOTATIONS/ava_val_excluded_timestamps_v2.2.csv

VIDEOS are AVA's, cut from minute 15 to 30; ANNOTATIONS is the folder of ava_train_v2.2.csv and ava_val_v2.2.csv. The
two lists of detected boxes are SlowFast's (its DATASET.md). `vidjax check` with the same flags finds what does not fit
together.

Published: 24.67 mAP on AVA v2.2 (pytorchvideo's model zoo), by SlowFast's rules, on detected boxes of a score of 0.8 or
more and the whole picture, which three crops cover, also that of the widest films:

    python eval.py --workdir=runs/ava_slowfast_r50_8x8 --config.data.clip.size=256 --config.data.clip.resize="(256,)" \\
        --config.eval.num_crops=3 --config.task.detect.protocol=slowfast

Their hardware: 8 GPUs, 8 clips each. Not trained here. Source: facebookresearch/SlowFast,
configs/AVA/SLOWFAST_32x2_R50_SHORT.yaml.
"""

from vidjax.config import (
    AugmentConfig,
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
        model=ModelConfig(name="slowfast_r50_8x8_ava"),
        data=DataConfig(
            dataset="ava",
            augment=AugmentConfig(crop="short_side", short_side=(256, 320)),
            reading=ReadingConfig(num_workers=16),
        ),
        task=TaskConfig(detect=DetectConfig(min_score=0.8, file_start=900.0)),
        optimizer=OptimizerConfig(
            name="sgd",
            learning_rate=0.1,
            base_batch=64,
            schedule="steps",
            step_epochs=(10, 15),
            warmup_epochs=5,
            warmup_factor=0.00125,
            weight_decay=1e-7,
        ),
        train=TrainConfig(batch_size=64, epochs=20, eval_epochs=5, checkpoint_epochs=1),
        eval=EvalConfig(batch_size=32),
    )
