"""RAFT on FlyingChairs, the first stage of its training: optical flow from 22 232 pairs of rendered chairs.

    python train.py --config=configs/chairs_raft.py --workdir=runs/chairs_raft --config.data.train=FlyingChairs_release
    python -m vidjax evaluate flow MPI-Sintel-complete --layout sintel --method runs/chairs_raft

`FlyingChairs_release` has the folder `data` and, beside it, `FlyingChairs_train_val.txt` or `chairs_split.txt`.

Published, the end-point error after FlyingChairs and then FlyingThings3D (torchvision's metadata, its own training):
Sintel (training set) clean 1.38, final 2.72, KITTI 2015 4.51 and Fl-all 16.1 %; the small network 2.12, 3.28, 7.66 and
25.3 %. None was trained here.

Settings of princeton-vl/RAFT, `train_standard.sh` and `core/datasets.py`: 100 000 updates of 12 pairs of 368 × 496
pixels, AdamW, 4e-4 at most, rising over 5 % of the updates and then falling in a line, gradients clipped at 1; resizing
by 0.93 to 2, stretching by 2^0.2, mirroring also top to bottom, colours of each picture by itself in a fifth of the
pairs, boxes of the second picture erased in half of them. Differences: the colours' operations have a fixed order and
follow the crop, and crops are anywhere with equal probability, where there they are more often at the border.

The next stages: FlyingThings3D (`.pfm` flow) as a list of JSON Lines, see `vidjax/data/listing/json_lines.py`, Sintel
and KITTI as folders, each with --config.model.init_from=runs/chairs_raft and its own --config.data.pairs.
"""

from vidjax.config import (
    AugmentConfig,
    Config,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    PairConfig,
    ReadingConfig,
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="raft_large"),
        data=DataConfig(
            train="FlyingChairs_release",
            pairs=PairConfig(
                height=368, width=496, scale=(2**-0.1, 2.0), stretch=0.2, stretched=0.8, resized=0.8, upside_down=0.1,
                apart=0.2, erase=0.5,
            ),
            augment=AugmentConfig(flip=True, colour_jitter=0.4, hue=0.159),
            reading=ReadingConfig(num_workers=8),
        ),
        optimizer=OptimizerConfig(
            name="adamw", learning_rate=4e-4, schedule="linear", warmup_epochs=2.7, weight_decay=1e-4, clip_norm=1.0
        ),
        train=TrainConfig(batch_size=12, epochs=54, eval_epochs=1, checkpoint_epochs=1),
        eval=EvalConfig(batch_size=12),
    )  # fmt: skip
