"""AudioSet, AST from a DeiT trained on ImageNet, by its authors' recipe: several sounds per clip of ten seconds.

    python train.py --config=configs/audioset_ast.py --workdir=runs/audioset_ast \\
        --config.model.init_from=deit_base_distilled_patch16_384-d0272ac0.pth \\
        --config.data.dataset=audioset --config.data.train=SEGMENTS --config.data.root=SOUNDS

SEGMENTS is the folder of AudioSet's *_segments.csv, or one of them; SOUNDS that of the sounds or videos, with their
identifiers as names. An own CSV file, without data.dataset, has a line `path,label` each, with all its classes
joined by `|`. Published: mAP 0.448 after five epochs of the two million clips of AudioSet (0.459 with the weights
averaged over the epochs), and 0.347 on the balanced 20 thousand. From weights of AudioSet instead, such as a folder of
transformers, for an own set of sounds:

    … --config.model.init_from=ast-finetuned-audioset-10-10-0.4593 --config.data.train=FOLDER \\
        --config.task.classify.balance= --config.optimizer.learning_rate=5e-5

A folder has one sub-folder of .wav files, or of videos, per class; folder_sound.py is a smaller recipe for it.

Not trained here. Source: Gong et al. (2104.01778), and YuanGongND/ast, egs/audioset/run.sh: 12 clips per update, one
mask of up to 192 spectra and one of up to 48 bands, half of the clips mixed with shares from Beta(10, 10), Adam with
β 0.95 and 0.999, clips drawn by the rarity of their classes, and the learning rate halved after every epoch from the
second on. Without its L2 penalty of 5e-7, which AdamW does not have.
"""

from vidjax.config import (
    ClassifyConfig,
    Config,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    ReadingConfig,
    SoundConfig,
    TaskConfig,
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="ast_base", kwargs={"epsilon": 1e-6, "head_epsilon": 1e-5}),
        data=DataConfig(
            sound=SoundConfig(time_masks=1, time_mask=192, frequency_masks=1, frequency_mask=48),
            reading=ReadingConfig(num_workers=16),
        ),
        task=TaskConfig(classify=ClassifyConfig(mixup=10.0, mix_probability=0.5, mix_per_clip=True, balance="class")),
        optimizer=OptimizerConfig(
            name="adamw",
            learning_rate=1e-5,
            schedule="steps",
            step_epochs=(2.0, 3.0, 4.0),
            step_factor=0.5,
            warmup_epochs=0.006,  # a thousand updates
            b1=0.95,
            weight_decay=0.0,
        ),
        train=TrainConfig(batch_size=12, epochs=5, eval_epochs=1, checkpoint_epochs=1),
        eval=EvalConfig(batch_size=24),
    )
