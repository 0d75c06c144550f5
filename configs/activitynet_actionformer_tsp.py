"""ActionFormer on ActivityNet 1.3, from TSP features: 512 numbers, windows of 16 frames at 15 frames/s, side by side.

    python train.py --config=configs/activitynet_actionformer_tsp.py --workdir=runs/activitynet_actionformer

Expects data/activitynet/activity_net.v1-3.min.json and data/activitynet/tsp_features/v_*.npy (or .npz with `feats`).
The network finds segments of any class. Their classes come from the scores of a classifier of whole videos:
`--config.task.localise.video_scores=FILE.json` writes them into segments.json, for
`vidjax evaluate segments RUN/segments.json --truth data/activitynet/activity_net.v1-3.min.json --subset validation`.
Published: 36.56 mAP (0.5:0.05:0.95).
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
        model=ModelConfig(name="actionformer_anet_tsp"),
        data=DataConfig(
            train="data/activitynet/activity_net.v1-3.min.json@training",
            eval="data/activitynet/activity_net.v1-3.min.json@validation",
            one_class=True,
            features=FeaturesConfig(folder="data/activitynet/tsp_features", stride=16.0, window=16.0, fps=15.0),
        ),
        task=TaskConfig(
            localise=LocaliseConfig(
                thresholds="activitynet",
                sigma=0.75,
                per_class=False,
                voting=0.9,
                min_length=0.001,
                detections=100,
            )
        ),
        optimizer=OptimizerConfig(
            name="adamw", learning_rate=1e-3, warmup_epochs=5.0, weight_decay=0.05, clip_norm=1.0
        ),
        train=TrainConfig(batch_size=16, epochs=15, ema_decay=0.999, eval_epochs=5, checkpoint_epochs=5),
        eval=EvalConfig(batch_size=16),
    )
