"""Your own sounds: a folder with one sub-folder of .wav files per class, or CSV files with path,label[,split,group].

    python train.py --config=configs/folder_sound.py --workdir=runs/sounds --config.data.train=SOUNDS \\
        --config.model.init_from=Cnn10_mAP=0.380.pth

Other formats (.flac, .mp3, …) and videos, of which only the sound is used, may stand there too. Fine-tunes CNN10 of
PANNs, trained on AudioSet, on windows of five seconds. For short sounds, and from scratch on a laptop:
    … --config.data.sound.seconds=1 --config.model.name=panns_tiny --config.optimizer.learning_rate=1e-3 \\
        --config.data.sound.time_mask=16
"""

from vidjax.config import (
    ClassifyConfig,
    Config,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    SoundConfig,
    TaskConfig,
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="panns_cnn10"),
        data=DataConfig(
            sound=SoundConfig(seconds=5.0, gain=6.0, time_masks=2, time_mask=32, frequency_masks=2, frequency_mask=8)
        ),
        task=TaskConfig(classify=ClassifyConfig(label_smoothing=0.1)),
        optimizer=OptimizerConfig(name="adamw", learning_rate=3e-4, warmup_epochs=1.0, weight_decay=0.01),
        train=TrainConfig(batch_size=16, epochs=20, eval_epochs=2, checkpoint_epochs=2),
        eval=EvalConfig(num_clips=3, batch_size=16),
    )
