"""Two streams, frames and optical flow, on the clips of `configs/fights_r2plus1d.py` at the same budget.

    python train.py --config=configs/fights_two_stream.py --workdir=runs/fights_two_stream
    python train.py --config=configs/fights_early_fusion.py --workdir=runs/fights_flow --config.model.input=flow

Both streams have all frames in their first layer, and their probabilities are averaged. Each from its own run:
--config.model.init_from=rgb=runs/fights_early_fusion,flow=runs/fights_flow. Other kinds of fusion:
--config.model.kwargs.fusion=learned, concat, conv or lateral.
"""

from configs import fights_r2plus1d
from vidjax.config import Config


def get_config() -> Config:
    config = fights_r2plus1d.get_config()
    config.model.name = "two_stream_tiny"
    config.model.kwargs = {"rgb": "early_fusion_tiny", "flow": "early_fusion_tiny"}
    return config
