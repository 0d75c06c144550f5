"""Moving shapes that each act for themselves, with boxes: a small network learns who does what.

    python train.py --config=configs/motion_people.py --workdir=runs/motion_people

Writes its videos to runs/data/people on first use. CPU: about 437 s of processor time, under 8 minutes on 2
idle cores. Measured once, seed 0, frame mAP at an overlap (IoU) of 0.5; chance is 16.7 %, one of six motions:

| network | true boxes | boxes that overlap them by 0.7 |
|---|---|---|
| this one | 99.1 % | 98.9 % |
| a single frame: `--config.model.name=frame_detect_tiny` | 19.1 % | |
| the whole picture: `--config.model.name=picture_detect_tiny --config.train.steps=40` | 17.1 % | |

The third column: `python eval.py --workdir=runs/motion_people --config.task.detect.eval_jitter=0.7`. Mirrored clips
count as the opposite motion, and training moves and resizes the boxes, down to an overlap of 0.6.
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
    TaskConfig,
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="i3d_detect_tiny"),
        data=DataConfig(
            synthetic="people",
            train="runs/data/people/train.csv",
            eval="runs/data/people/val.csv",
            clip=ClipConfig(size=64, resize=(64,)),
            augment=AugmentConfig(scale=(0.8, 1.0)),
        ),
        # Mirroring swaps these labels.
        task=TaskConfig(detect=DetectConfig(flip_pairs=("left<>right", "clockwise<>anticlockwise"), jitter=0.6)),
        optimizer=OptimizerConfig(
            name="adamw", learning_rate=3e-3, warmup_epochs=1.0, weight_decay=0.01, clip_norm=1.0
        ),
        train=TrainConfig(batch_size=16, epochs=8, eval_epochs=0, checkpoint_epochs=8),
        eval=EvalConfig(batch_size=16),
    )
