"""Finding videos of VATEX by a sentence: VideoPrism's base network of videos and texts, fine-tuned on English captions.

    python -m vidjax convert videoprism_lvt_base flax_lvt_base.npz runs/lvt --tokenizer sentencepiece.model
    python train.py --config=configs/vatex_videoprism_lvt_base.py --workdir=runs/vatex \\
        --config.data.train=vatex --config.data.root=vatex/videos --config.model.init_from=runs/lvt

The folder `vatex` holds vatex_training_v1.0.json and vatex_validation_v1.0.json; videos are named ID_000010_000020.mp4.
Before training, the same run without updates is `python eval.py --checkpoint=runs/lvt --config.data.dataset=vatex …`.

Published (not measured here), without fine-tuning: text to video R@1 of 56.2 % (base) and 57.2 % (large,
`--config.model.name=videoprism_lvt_large`), Zhao et al. (2402.13217), on a split of their own. No recipe of fine-tuning
was published: rate and length are CLIP4Clip's.
"""

from configs import msrvtt_clip_b32
from vidjax.config import Config, ModelConfig


def get_config() -> Config:
    config = msrvtt_clip_b32.get_config()
    config.model = ModelConfig(name="videoprism_lvt_base", scan_blocks=True, remat="dots")
    config.data.dataset, config.data.train = "vatex", "vatex"
    config.data.clip.num_frames = 0  # the model's own
    config.train.batch_size, config.eval.batch_size = 64, 16
    return config
