"""Questions about generated scenes: a small R(2+1)D and a decoder that answer in a word.

    python train.py --config=configs/scenes_question.py --workdir=runs/scenes_question

Writes its videos to runs/data/scenes on first use. A question is the beginning of a text that ends with its answer.
"""

from configs import scenes_caption
from vidjax.config import Config


def get_config() -> Config:
    config = scenes_caption.get_config()
    config.data.train = "runs/data/scenes/train_questions.csv"
    config.data.eval = "runs/data/scenes/val_questions.csv"
    config.task.caption.length = 6
    config.train.epochs, config.train.eval_epochs, config.train.checkpoint_epochs = 6, 2, 2
    return config
