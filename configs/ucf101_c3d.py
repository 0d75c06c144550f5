"""UCF-101, C3D from Sports-1M weights, by mmaction2's recipe.

    python train.py --config=configs/ucf101_c3d.py --workdir=runs/ucf101_c3d \\
        --config.model.init_from=c3d_sports1m_pretrain.pth \\
        --config.data.root=VIDEOS \\
        --config.data.train=ucfTrainTestlist

Published with this schedule: 83.08 top-1, 95.93 top-5 on split 1 with 10 clips:

    python eval.py --workdir=runs/ucf101_c3d --config.eval.num_clips=10

Their hardware: 8 GPUs, 30 clips each. Not trained here. Source: mmaction2,
configs/recognition/c3d/c3d_sports1m-pretrained_8xb30-16x1x1-45e_ucf101-rgb.py.
"""

from vidjax.config import (
    AugmentConfig,
    ClipConfig,
    Config,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    ReadingConfig,
    SamplingConfig,
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="c3d"),
        data=DataConfig(
            dataset="ucf101",
            clip=ClipConfig(size=112),
            sampling=SamplingConfig(train="mmaction2_sample", eval="mmaction2_sample"),
            augment=AugmentConfig(crop="short_side", short_side=(128, 128)),
            reading=ReadingConfig(num_workers=16),
        ),
        optimizer=OptimizerConfig(
            name="sgd",
            learning_rate=0.001,
            base_batch=240,
            schedule="steps",
            step_epochs=(20.0, 40.0),
            momentum=0.9,
            weight_decay=5e-4,
            clip_norm=40.0,
        ),
        train=TrainConfig(batch_size=240, epochs=45, eval_epochs=5, checkpoint_epochs=1),
        eval=EvalConfig(num_clips=1, batch_size=64),
    )
