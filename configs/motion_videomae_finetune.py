"""Moving shapes with a tenth of the labels, 150 videos: a classifier that starts from `configs/motion_videomae.py`.

    python train.py --config=configs/motion_videomae_finetune.py --workdir=runs/motion_finetuned

From scratch instead: `--config.model.init_from=`. FIGURES
"""

from configs import motion, motion_videomae
from vidjax.config import Config, ModelConfig, OptimizerConfig


def get_config() -> Config:
    config = motion.get_config()
    config.model = ModelConfig(
        name="videomae_tiny", kwargs=dict(motion_videomae.ENCODER), init_from="runs/motion_videomae"
    )
    config.data.train_share = 0.1
    config.optimizer = OptimizerConfig(
        name="adamw", learning_rate=1e-3, warmup_epochs=8.0, weight_decay=0.05, clip_norm=1.0
    )
    config.train.batch_size = 32
    config.train.epochs = 84
    config.train.log_every = 16
    config.train.eval_epochs = 21
    config.train.checkpoint_epochs = 21
    return config
