"""AdaTAD on THUMOS14: VideoMAE-S with adapters and ActionFormer, end to end on windows of 768 frames, every 4th.

    python train.py --config=configs/thumos14_adatad.py --workdir=runs/thumos14_adatad

Expects data/thumos14/annotations/thumos14.json, data/thumos14/videos/*.mp4 and weights/videomae_small_k400.pth,
VideoMAE's classifier of Kinetics-400; training takes the subset "Validation", evaluation "Test". The encoder stays as
it is; adapters learn at 2e-4, the detector at 1e-4.

Published (OpenTAD; mAP 0.3:0.1:0.7): VideoMAE-S 69.03, B 71.14, L 73.51, H 74.95, VideoMAEv2-g 75.06 at 160², and
77.07 at 224² with 1536 frames, every second (`--config.model.name=adatad_videomaev2_giant_224`). Not measured here.
RandAugment is timm's, not imgaug's. Videos shorter than a window are not cropped at random, and their last frame is
held, where the source masks what comes after the end.

With published weights, without training:

    vidjax convert adatad_videomae_small epoch_59.pth runs/adatad --config=thumos14_adatad
    vidjax localise runs/adatad VIDEO.mp4 --out runs/found
"""

from vidjax.config import (
    AugmentConfig,
    Config,
    DataConfig,
    EvalConfig,
    FeaturesConfig,
    LocaliseConfig,
    ModelConfig,
    OptimizerConfig,
    SamplingConfig,
    TaskConfig,
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        model=ModelConfig(
            name="adatad_videomae_small", init_from="weights/videomae_small_k400.pth", drop_path=0.1, remat="full"
        ),
        data=DataConfig(
            train="data/thumos14/annotations/thumos14.json@validation",
            eval="data/thumos14/annotations/thumos14.json@test",
            root="data/thumos14/videos",
            features=FeaturesConfig(keep=0.75),
            sampling=SamplingConfig(eval="sliding_window", hop=1536, short_video="hold"),
            augment=AugmentConfig(
                crop="random_resized", randaugment_m=9.0, randaugment_n=2, colour_jitter=0.5, hue=0.1, flip=True
            ),
        ),
        task=TaskConfig(
            localise=LocaliseConfig(
                thresholds="thumos", protocol="opentad", max_segments=512, sigma=0.7, min_length=0.0, detections=2000
            )
        ),
        optimizer=OptimizerConfig(
            name="adamw",
            learning_rate=2e-4,
            warmup_epochs=5.0,
            weight_decay=0.05,
            clip_norm=1.0,
            backbone_factor=0.5,
            full_rate=("encoder",),
        ),
        train=TrainConfig(batch_size=2, epochs=60, ema_decay=0.999, eval_epochs=2, checkpoint_epochs=2),
        eval=EvalConfig(batch_size=1),
    )
