"""Fight or no fight in 255 surveillance clips: R(2+1)D from scratch, on frames or on their differences.

    git clone https://github.com/seymanurakti/fight-detection-surv-dataset fights
    python -m vidjax prepare fights/train.csv runs/data/fights --eval fights/val.csv --jpeg --short-side 80
    python train.py --config=configs/fights_r2plus1d.py --workdir=runs/fights_r2plus1d
    python train.py --config=configs/fights_r2plus1d.py --workdir=runs/fights_r2plus1d_diff --config.model.input=diff

train.csv and val.csv have the columns path,label,group: 212 and 43 clips, the group being the video that a clip was cut
from, so that no video is in both. Every `fights_*.py` has this budget: 15 epochs, 8 frames of 48², every 4th. With 43
clips one standard error is 7 points: average several `--config.seed`. Measured: README, "Your own videos".
"""

from vidjax.config import (
    ClassifyConfig,
    ClipConfig,
    Config,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    TaskConfig,
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="r2plus1d_tiny"),
        data=DataConfig(train="runs/data/fights", clip=ClipConfig(num_frames=8, stride=4, size=48, resize=(56,))),
        task=TaskConfig(classify=ClassifyConfig(label_smoothing=0.1)),
        optimizer=OptimizerConfig(
            name="adamw", learning_rate=1e-3, warmup_epochs=1.0, weight_decay=0.05, clip_norm=1.0
        ),
        train=TrainConfig(batch_size=16, epochs=15, eval_epochs=0, checkpoint_epochs=5),
        eval=EvalConfig(num_clips=3, batch_size=16),
    )
