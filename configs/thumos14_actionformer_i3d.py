"""ActionFormer on THUMOS14, from I3D features (RGB and flow, 2048 numbers, every 4th of 16-frame windows).

    python train.py --config=configs/thumos14_actionformer_i3d.py --workdir=runs/thumos14_actionformer

Expects data/thumos14/annotations/thumos14.json and data/thumos14/i3d_features/*.npy, as the ActionFormer repository
distributes them; training takes the subset "Validation", evaluation "Test". Published: 66.83 mAP (0.3:0.1:0.7).
"""

from vidjax.config import (
    Config,
    DataConfig,
    EvalConfig,
    FeaturesConfig,
    LocaliseConfig,
    ModelConfig,
    OptimizerConfig,
    TaskConfig,
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="actionformer_thumos_i3d"),
        data=DataConfig(
            train="data/thumos14/annotations/thumos14.json@validation",
            eval="data/thumos14/annotations/thumos14.json@test",
            features=FeaturesConfig(
                folder="data/thumos14/i3d_features", stride=4.0, window=16.0, crop=(0.9, 1.0), keep=0.5
            ),
        ),
        task=TaskConfig(
            localise=LocaliseConfig(thresholds="thumos", protocol="actionformer", max_segments=512, sigma=0.5)
        ),
        optimizer=OptimizerConfig(
            name="adamw", learning_rate=1e-4, warmup_epochs=5.0, weight_decay=0.05, clip_norm=1.0
        ),
        train=TrainConfig(batch_size=2, epochs=35, ema_decay=0.999, eval_epochs=5, checkpoint_epochs=5),
        eval=EvalConfig(batch_size=1),
    )
