"""Something-Something V2, an attentive probe on the frozen V-JEPA 2 ViT-L: the authors' recipe.

    python train.py --config=configs/ssv2_vjepa2_large_probe.py --workdir=runs/ssv2_vjepa2_large_probe \\
        --config.model.init_from=CHECKPOINT --config.data.root=VIDEOS \\
        --config.data.train=ssv2/train.json --config.data.eval=ssv2/validation.json

CHECKPOINT is a pre-trained encoder: vitl.pt of facebookresearch/vjepa2 or a transformers folder
(facebook/vjepa2-vitl-fpc64-256). It is not trained; the probe has four Transformer blocks of its own.

Published: 73.7 top-1 on the validation set with 2 clips × 3 crops:

    python eval.py --workdir=runs/ssv2_vjepa2_large_probe --config.eval.num_clips=2 --config.eval.num_crops=3

The authors report the best of twenty probes, trained side by side with learning rates of 5e-3, 3e-3, 1e-3, 3e-4 and
1e-4 and weight decays of 0.01, 0.1, 0.4 and 0.8; this is one of them, for others set --config.optimizer.learning_rate=
and --config.optimizer.weight_decay=. Their probes attend to the tokens of two clips of a video at once; here to one
clip, and evaluation averages over clips. They probe the averaged weights of vitl.pt, target_encoder; here those under
encoder are read, as by their torch.hub code.

Their hardware: 64 GPUs, 4 videos each; 20 epochs. Not trained here. Source: facebookresearch/vjepa2,
configs/eval/vitl/ssv2.yaml, evals/video_classification_frozen/eval.py and README.md.
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
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="vjepa2_large", probe="attentive", probe_blocks=4, probe_heads=16),
        data=DataConfig(
            dataset="something_v2",
            clip=ClipConfig(num_frames=16, stride=4),
            augment=AugmentConfig(
                crop="random_resized",
                flip=False,  # its classes distinguish left and right
                randaugment_m=7.0,
                randaugment_n=4,
                erase=0.25,
            ),
            reading=ReadingConfig(num_workers=16),
        ),
        optimizer=OptimizerConfig(name="adamw", learning_rate=1e-3, weight_decay=0.01),
        train=TrainConfig(batch_size=256, epochs=20),
        eval=EvalConfig(batch_size=128),
    )
