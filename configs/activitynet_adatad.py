"""AdaTAD on ActivityNet 1.3: VideoMAE-S with adapters and ActionFormer, end to end on 768 frames of the whole video.

    python train.py --config=configs/activitynet_adatad.py --workdir=runs/activitynet_adatad

Expects data/activitynet/activity_net.v1-3.min.json, data/activitynet/videos/v_*.mp4 (OpenTAD: 15 frames/s, short side
256) and weights/videomae_small_k400.pth, VideoMAE's classifier of Kinetics-400. The encoder stays as it is; adapters
learn at 1e-4, the detector at 1e-3.

The network finds segments of any class. Their classes come from the scores of a classifier of whole videos:
`--config.task.localise.video_scores=cuhk_val_simp_7.json --config.task.localise.video_join=product` writes them into
segments.json, for `vidjax evaluate segments RUN/segments.json --truth data/activitynet/activity_net.v1-3.min.json
--subset validation --protocol opentad`. OpenTAD joins the scores of InternVideo and InternVideo2 by `root`.

Published (OpenTAD, with CUHK's classes; mAP 0.5:0.05:0.95): VideoMAE-S 37.81, B 38.35, L 39.21, H 39.31, VideoMAEv2-g
39.77 at 160² and 39.86 at 224²; the latter 41.85 with InternVideo's and 42.90 with InternVideo2's classes. The other
sizes are `--config.model.name=adatad_anet_videomae_base`, …; `adatad_anet_videomae_large_224` knows the 200 classes
itself (39.15; `--config.data.one_class=False --config.task.localise.per_class=True --config.task.localise.voting=0
--config.task.localise.votes=auto`). Not measured here. Two things differ: RandAugment is timm's, not imgaug's, and
videos whose segments are all shorter than a hundredth of them are kept, without segments.

With published weights, without training:

    vidjax convert adatad_anet_videomae_small epoch_10.pth runs/adatad --config=activitynet_adatad
    vidjax localise runs/adatad VIDEO.mp4 --out runs/found
"""

from vidjax.config import (
    AugmentConfig,
    Config,
    DataConfig,
    EvalConfig,
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
            name="adatad_anet_videomae_small", init_from="weights/videomae_small_k400.pth", drop_path=0.1, remat="full"
        ),
        data=DataConfig(
            train="data/activitynet/activity_net.v1-3.min.json@training",
            eval="data/activitynet/activity_net.v1-3.min.json@validation",
            root="data/activitynet/videos",
            one_class=True,
            sampling=SamplingConfig(train="opentad_whole", eval="opentad_whole"),
            augment=AugmentConfig(
                crop="random_resized", randaugment_m=9.0, randaugment_n=2, colour_jitter=0.5, hue=0.1, flip=True
            ),
        ),
        task=TaskConfig(
            localise=LocaliseConfig(
                thresholds="activitynet",
                protocol="opentad",
                shortest=0.01,
                sigma=0.7,
                per_class=False,
                voting=0.9,
                votes="score",
                min_length=0.0,
                detections=100,
            )
        ),
        optimizer=OptimizerConfig(
            name="adamw",
            learning_rate=1e-3,
            warmup_epochs=5.0,
            weight_decay=0.05,
            clip_norm=1.0,
            backbone_factor=0.1,
            full_rate=("embedding", "stem", "branch", "norms", "head"),
        ),
        train=TrainConfig(batch_size=16, epochs=15, ema_decay=0.999, eval_epochs=1, checkpoint_epochs=1),
        eval=EvalConfig(batch_size=4),
    )
