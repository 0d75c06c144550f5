"""Finding videos of MSR-VTT by a sentence: CLIP ViT-B/32 over 12 frames, fine-tuned on the 9,000 videos of 1k-A.

    python -m vidjax convert clip_b32 clip-vit-base-patch32/ runs/clip
    python train.py --config=configs/msrvtt_clip_b32.py --workdir=runs/msrvtt \\
        --config.data.train=msrvtt --config.data.root=msrvtt/videos --config.model.init_from=runs/clip

The folder `msrvtt` holds MSRVTT_data.json, MSRVTT_train.9k.csv and MSRVTT_JSFUSION_test.csv. The whole data set, with
20 sentences of each test video: --config.data.dataset=msrvtt. A video's vector is the mean of its frames', as in
CLIP4Clip.

Published (not measured here): text to video R@1, R@5, R@10 of 43.1, 69.4, 78.9 %, median rank 2, mean 16.8 (mmaction2's
CLIP4Clip, ViT-B/32, 12 frames, 1k-A). Rate and length of training follow Luo et al. (2104.08860).
"""

from vidjax.config import (
    AugmentConfig,
    ClipConfig,
    Config,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    SamplingConfig,
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="clip_b32"),
        data=DataConfig(
            dataset="msrvtt_1ka",
            train="msrvtt",
            clip=ClipConfig(num_frames=12),
            sampling=SamplingConfig(train="segments", eval="segments"),
            augment=AugmentConfig(scale=(0.5, 1.0), flip=False),
        ),
        optimizer=OptimizerConfig(name="adamw", learning_rate=1e-5, warmup_epochs=0.5, weight_decay=0.2, b2=0.98),
        train=TrainConfig(batch_size=128, epochs=5),
        eval=EvalConfig(num_clips=1, batch_size=32),
    )
