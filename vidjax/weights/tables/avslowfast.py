"""Weights of AVSlowFast, as named by pytorchvideo, which has the network but published no checkpoint."""

from vidjax.weights.layer_rules import batch_norm, dense
from vidjax.weights.layouts import CONV3D
from vidjax.weights.table import Rule, Source
from vidjax.weights.tables.bottlenecks import IGNORE
from vidjax.weights.tables.slowfast import pytorchvideo_pathway

_STEM, _FUSION = "blocks.0.multipathway_blocks.2.conv.convs", "blocks.{s}.multipathway_fusion"
_BLOCK = "blocks.{s}.multipathway_blocks.2.res_blocks.{b}.branch2"

SOURCES = (
    Source(
        name="pytorchvideo",
        models=("avslowfast_r50_8x8", "avslowfast_r101_8x8"),
        signature=(f"{_STEM}.0.weight", f"{_FUSION}.block_fast_to_slow.0.weight".format(s=0), "blocks.6.proj.weight"),
        rules=(
            Rule(f"{_STEM}.0.weight", "audio.stem.conv.time.kernel", CONV3D),
            Rule(f"{_STEM}.1.weight", "audio.stem.conv.frequency.kernel", CONV3D),
            *(
                rule
                for number, part in enumerate(("frequency", "time"))
                for rule in (
                    Rule(f"{_BLOCK}.conv_b.{number}.weight", f"audio.stages.{{s-1}}.{{b}}.conv2.{part}.kernel", CONV3D),
                    *batch_norm(f"{_BLOCK}.norm_b.{number}", f"audio.stages.{{s-1}}.{{b}}.conv2.{part}_norm"),
                )
            ),
            *(
                rule
                for number, name in enumerate(("slow", "fast", "audio"))
                for rule in pytorchvideo_pathway(number, name)
            ),
            Rule(f"{_FUSION}.block_fast_to_slow.0.weight", "laterals.{s}.conv.kernel", CONV3D),
            *batch_norm(f"{_FUSION}.block_fast_to_slow.1", "laterals.{s}.norm"),
            *(
                rule
                for number in (1, 2)
                for rule in (
                    Rule(
                        f"{_FUSION}.block_audio_to_fastslow.{3 * number - 3}.weight",
                        f"sound_laterals.{{s}}.conv{number}.kernel",
                        CONV3D,
                    ),
                    *batch_norm(
                        f"{_FUSION}.block_audio_to_fastslow.{3 * number - 2}", f"sound_laterals.{{s}}.norm{number}"
                    ),
                )
            ),
            *dense("blocks.6.proj", "head"),
        ),
        ignore=IGNORE,
    ),
)
