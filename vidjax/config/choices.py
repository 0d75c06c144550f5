"""Values that settings may take: names of data sets, sampling rules and presets, with facts known in advance.

The packages that define them are in higher layers, which settings and `--help` must not load.
"""

from typing import Any

# Inputs of a network made from a clip: its frames, the differences between them, both, optical flow, or frames and it.
INPUTS = ("rgb", "diff", "rgb+diff", "flow", "rgb+flow")
# Algorithms of optical flow, of vidjax/video/flow.py and vidjax/models/families/raft.py, or flow computed beforehand.
FLOWS = (
    "farneback", "dis_ultrafast", "dis_fast", "dis_medium", "tvl1", "raft_small", "raft_large", "folder",
)  # fmt: skip

# Folders of benchmarks with true flow, of vidjax/data/listing/flow_pairs.py.
FLOW_LAYOUTS = ("sintel", "kitti", "chairs")

# Values that blocks keep for the backward pass, from most memory to least; costs are in vidjax/nn/remat.py.
REMAT = ("", "dots", "attention", "full")
# Classifiers on the features of a frozen network, defined in vidjax/models/probe.py.
PROBES = ("linear", "attentive")


def _evenly(first: float, last: float, count: int) -> tuple[float, ...]:
    """Numbers at equal distances, to the last digit those of NumPy's `linspace`, as official scorers use them."""
    step = (last - first) / (count - 1)
    return (*(i * step + first for i in range(count - 1)), last)


# Rules of evaluating segments, proposals and tubes, defined in vidjax/evaluation, and named sets of temporal IoUs.
PROTOCOLS = ("official", "actionformer", "opentad")
PROPOSAL_PROTOCOLS = (*PROTOCOLS, "mmaction2")
TUBE_PROTOCOLS = ("official", "act")
TIOUS: dict[str, tuple[float, ...]] = {
    "thumos": _evenly(0.3, 0.7, 5),
    "activitynet": _evenly(0.5, 0.95, 10),
    "epic": _evenly(0.1, 0.5, 5),
    "multithumos": _evenly(0.1, 0.9, 9),
}
# Kinds of suppression of segments, and weights of votes, defined in vidjax/tasks/localise/nms.py.
SUPPRESSIONS = ("gaussian", "width", "hard")
VOTES = ("overlap", "score")
# Rules of evaluating boxes, defined in vidjax/evaluation/boxes.py.
BOX_PROTOCOLS = ("official", "slowfast", "mmaction2")

# Tasks by which feature vectors are judged, defined in vidjax/embeddings/benchmark.py.
EMBEDDING_TASKS = ("retrieval", "neighbours", "linear", "few_shot", "clustering", "pairs")

# Names of the data sets defined in vidjax/data/listing/datasets.py: those with classes, and those with captions.
CLASSIFIED = (
    "activitynet", "audioset", "ava", "ava_kinetics", "charades", "diving48", "esc50", "hmdb51", "hvu", "jester",
    "jhmdb", "kinetics400", "kinetics600", "kinetics700", "moments", "multisports", "something_v1", "something_v2",
    "ucf101", "ucf101_24", "vggsound",
)  # fmt: skip
CAPTIONED = ("activitynet_captions", "didemo", "msrvtt", "msrvtt_1ka", "msvd", "vatex")
DATASETS = tuple(sorted(CLASSIFIED + CAPTIONED))

# Data sets that vidjax/data/synthetic.py writes: name → numbers of classes and of training examples.
SYNTHETIC = {
    "motion": (6, 1500), "long": (6, 80), "people": (6, 800),
    "scenes": (0, 1500),
    "sound_joint": (4, 1200), "sound_agree": (2, 1200), "sound_turns": (2, 1200),
    "flow": (0, 1000),
}  # fmt: skip

# Rules of vidjax/video/sampling.py → short-video rules that each supports; "auto" takes the first.
SAMPLING_RULES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("random", "dense", "centre", "multi_clip", "sliding_window", "all", "uniform", "linspace", "segments"),
        ("loop", "hold", "spread"),
    ),
    "key_frame": ("hold",),
    "mmaction2_sample": ("loop", "hold"),
    "mmaction2_tsn": ("loop", "hold"),
    "mmaction2_uniform": ("spread",),
    "mmaction2_dense": ("loop",),
    "slowfast": ("hold",),
    "slowfast_offset": ("hold",),
    "pytorchvideo": ("spread",),
    "opentad_whole": ("spread",),
}
RANDOM_RULES = ("random", "dense")  # draws differ each time: for training only
WHOLE_VIDEO_RULES = ("sliding_window", "all")  # as many clips as the video needs: for evaluation only
ONE_CLIP_RULES = (
    "centre",
    "key_frame",
    "linspace",
    "mmaction2_tsn",
    "opentad_whole",
    *WHOLE_VIDEO_RULES,
)  # `eval.num_clips` must be 1
# Rules that take every τ-th frame, unless a rate is given.
STRIDED_RULES = (
    "random", "dense", "centre", "key_frame", "multi_clip", "sliding_window", "all", "mmaction2_sample",
)  # fmt: skip
# Rules that always sample by time.
TIMED_RULES = ("slowfast", "slowfast_offset", "pytorchvideo")
# All other rules take frames from the whole video, or a window of fixed length, whatever the stride or rate.
UNSTRIDED_RULES = tuple(rule for rule in SAMPLING_RULES if rule not in (*STRIDED_RULES, *TIMED_RULES))

# Names of settings in other projects → fields here; for hints at unknown settings.
ALIASES: dict[str, tuple[str, ...]] = {
    alias: tuple(fields.split())
    for fields, aliases in {
        "seed": "random_seed rng_seed manual_seed",
        "model.name": "arch architecture backbone net network model_name",
        "model.init_from": "pretrained pretrain weights checkpoint ckpt finetune load_from resume_from",
        "model.compute_dtype": "dtype precision amp fp16 bf16 mixed_precision",
        "model.dropout": "drop dropout_rate dropout_prob",
        "model.drop_path": "drop_path_rate stochastic_depth stochastic_depth_prob",
        "model.probe": "linear_probe freeze freeze_backbone",
        "data.train": "data_path data_dir train_data train_csv train_file train_path",
        "data.eval": "val valid validation val_data val_csv test test_data",
        "data.clip.num_frames": "frames n_frames nframes clip_len clip_length num_segments",
        "data.clip.stride": "sampling_rate sample_rate frame_interval frame_stride temporal_stride tau",
        "data.clip.fps": "frame_rate framerate target_fps",
        "data.clip.size": "crop_size image_size img_size input_size train_crop_size resolution",
        "data.clip.resize": "resize_size short_side_size",
        "data.reading.num_workers": "workers n_workers nworkers",
        "data.augment.flip": "hflip horizontal_flip mirror",
        "optimizer.name": "opt optim optimizer",
        "optimizer.learning_rate": "lr base_lr max_lr peak_lr learningrate",
        "optimizer.weight_decay": "wd decay l2",
        "optimizer.schedule": "scheduler lr_schedule lr_scheduler lr_policy",
        "optimizer.warmup_epochs": "warmup warmup_steps warm_up",
        "optimizer.clip_norm": "grad_clip clip_grad gradient_clip max_grad_norm",
        "train.batch_size eval.batch_size": "bs batch batchsize",
        "train.epochs": "epoch num_epochs n_epochs max_epochs max_epoch",
        "train.steps": "max_steps num_steps total_steps iterations iters max_iters",
        "train.accumulate": "accum accumulation_steps grad_accum accum_iter update_freq",
        "task.classify.label_smoothing": "smoothing",
        "train.ema_decay": "ema model_ema model_ema_decay",
        "train.log_every": "log_interval print_freq log_freq",
        "train.eval_epochs": "eval_every eval_interval val_interval",
        "train.checkpoint_epochs": "save_every save_freq save_interval checkpoint_period",
        "eval.num_clips": "clips views num_views num_temporal_views num_ensemble_views test_num_segment",
        "eval.num_crops": "crops spatial_crops num_spatial_crops test_num_crop",
        "mesh.data": "gpus devices num_gpus num_devices n_gpus world_size",
    }.items()
    for alias in aliases.split()
}


def _transform(clip: dict[str, Any], augment: dict[str, Any], **normalisation: Any) -> dict[str, dict[str, Any]]:
    return {"clip": {"resize_rule": "torchvision", **clip, **normalisation}, "augment": augment}


_KINETICS = {"mean": (0.43216, 0.394666, 0.37645), "std": (0.22803, 0.22145, 0.216989)}
_HALF = {"mean": (0.45, 0.45, 0.45), "std": (0.225, 0.225, 0.225)}
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
# Crops of 224 from 256 and of 112 from 128: the share of torchvision's random crop in training.
_SQUARE = {"scale": (0.875, 0.875)}
_LARGE = {"resize": (256,), "size": 224}
_SHORT_SIDE = {"crop": "short_side", "short_side": (256, 320)}
_RANDAUGMENT = {"randaugment_m": 9.0, "randaugment_n": 2, "randaugment_mstd": 0.5, "randaugment_inc": False}
_AUGMIX = {"augmix_m": 3.0, "augmix_width": 3, "augmix_alpha": 1.0}
# Transforms of other projects as settings of `data.clip` and `data.augment`; those of evaluation are exact.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    # torchvision.models.video, `Weights.transforms()`; training as in its references/video_classification/presets.py
    "torchvision_resnet": _transform({"resize": (128, 171), "size": 112}, _SQUARE, **_KINETICS),
    "torchvision_s3d": _transform({"resize": (256, 256), "size": 224}, _SQUARE, **_KINETICS),
    "torchvision_mvit": _transform(_LARGE, _SQUARE, **_HALF),
    "torchvision_swin": _transform(_LARGE, _SQUARE, **_IMAGENET),
    # pytorchvideo.transforms.create_video_transform and its aug_type "default", "randaug" and "augmix"
    "pytorchvideo": _transform(_LARGE, _SHORT_SIDE, **_HALF),
    "pytorchvideo_randaug": _transform(_LARGE, _SHORT_SIDE | _RANDAUGMENT, **_HALF),
    "pytorchvideo_augmix": _transform(_LARGE, _SHORT_SIDE | _AUGMIX, **_HALF),
}
