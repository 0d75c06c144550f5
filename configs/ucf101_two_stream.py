"""UCF-101, two streams: one colour frame and ten fields of optical flow, their probabilities averaged.

    python train.py --config=configs/ucf101_two_stream.py --workdir=runs/ucf101_two_stream \\
        --config.model.init_from=rgb=resnet50.pth,flow=resnet50.pth \\
        --config.data.root=VIDEOS \\
        --config.data.train=ucfTrainTestlist

resnet50.pth is torchvision's image network; the first kernel for flow becomes the mean over its colours. Flow is
computed while training, by --config.data.flow=dis_fast unless another is given. Protocol of the test: 25 frames × 10
crops,

    python eval.py --workdir=runs/ucf101_two_stream --config.eval.num_clips=25 --config.eval.num_crops=10

Each stream by itself, and then the two fused:

    python train.py --config=configs/ucf101_two_stream.py --workdir=runs/ucf101_rgb \\
        --config.model.name=single_frame_r50 ...
    python train.py --config=configs/ucf101_two_stream.py --workdir=runs/ucf101_flow \\
        --config.model.name=single_frame_r50 --config.model.input=flow --config.data.flow_fields=10 ...
    python -m vidjax fuse runs/ucf101_rgb runs/ucf101_flow

and as one network that trains on: --config.model.init_from=rgb=runs/ucf101_rgb,flow=runs/ucf101_flow.

Published, mean of three splits:

| | RGB | flow | both |
|---|---|---|---|
| Simonyan & Zisserman 2014, CNN-M-2048, ten fields, 25 × 10 views | 73.0 | 83.7 | 86.9, with an SVM 88.0 |
| Feichtenhofer et al. 2016, VGG-16, a convolution over both | | | 92.5 |
| TSN 2016, BN-Inception, 3 segments, five fields, 1 : 1.5 | | | 94.0 |

The third row on ResNets: --config.model.name=two_stream_tsn --config.data.sampling.train=segments, and 25 frames of one
clip in the test, --config.data.clip.num_frames=25 --config.eval.num_clips=1. The second one: fusion=conv kernel=3.

Not trained here. Learning rates are those of TSN on flow (its PyTorch code, tsn-pytorch); training both streams
together is our own.
"""

from vidjax.config import (
    AugmentConfig,
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
        model=ModelConfig(name="two_stream_r50"),
        data=DataConfig(
            dataset="ucf101",
            sampling=SamplingConfig(train="segments", eval="uniform"),
            augment=AugmentConfig(crop="multi_scale", crop_positions=5),
            reading=ReadingConfig(num_workers=16),
        ),
        optimizer=OptimizerConfig(
            name="sgd",
            learning_rate=0.001,
            base_batch=128,
            schedule="steps",
            step_epochs=(190.0, 300.0),
            momentum=0.9,
            weight_decay=5e-4,
            clip_norm=20.0,
        ),
        train=TrainConfig(batch_size=128, epochs=340, eval_epochs=10, checkpoint_epochs=5),
        eval=EvalConfig(num_clips=1, batch_size=64),
    )
