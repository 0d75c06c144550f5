"""An LSTM over the frames of a 2D network, on the clips of `configs/fights_r2plus1d.py` at the same budget.

    python train.py --config=configs/fights_cnn_lstm.py --workdir=runs/fights_cnn_lstm
    python train.py --config=configs/fights_cnn_lstm.py --workdir=runs/fights_cnn_lstm_diff \\
        --config.model.input=diff
"""

from configs import fights_r2plus1d
from vidjax.config import Config


def get_config() -> Config:
    config = fights_r2plus1d.get_config()
    config.model.name = "cnn_lstm_tiny"
    return config
