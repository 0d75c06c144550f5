"""Which settings can be used: types, choices, ranges, and fields that must fit each other, whatever the data."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from vidjax.config import Config, ConfigError, ModelConfig, apply_preset, from_dict, setting
from vidjax.config.choices import ONE_CLIP_RULES, RANDOM_RULES, SAMPLING_RULES, UNSTRIDED_RULES, WHOLE_VIDEO_RULES


def validate(config: Config) -> Config:
    """A copy of `config` with its preset applied, after checking every field.

    Raises:
      ConfigError: naming every field that is off, its value and what is allowed.
    """
    config = from_dict(dataclasses.asdict(config))
    config.data = apply_preset(config.data)
    checks = _Checks(config)
    data = (_frames, _training_clips, _videos, _reading)
    for check in (_model, *data, _evaluation, _classify, _optimizer, _train, _mesh):
        check(config, checks)
    if checks.problems:
        raise ConfigError("\n".join(checks.problems))
    return config


class _Checks:
    """What is wrong with a config, a line for each field."""

    def __init__(self, config: Config):
        self.config = config
        self.problems = list(_choice_problems(config))

    def need(self, ok: bool, name: str, what: str) -> None:
        """Note that `config.NAME` must be `what` unless `ok`."""
        if not ok:
            self.problems.append(f"config.{name} = {setting(self.config, name)!r}: {what}")

    def least(self, least: float, names: Iterable[str], what: str = "") -> None:
        """Every one of the fields must be `least` or more; `what` says what `least` means."""
        for name in names:
            meaning = f" ({what})" if what else ""
            self.need(setting(self.config, name) >= least, name, f"must be {least}{meaning} or more")

    def within(self, most: float, names: Iterable[str], what: str = "") -> None:
        """Every one of the fields must lie in 0…`most`."""
        for name in names:
            self.need(0 <= setting(self.config, name) <= most, name, f"must lie in 0…{most}{what}")


def _model(config: Config, checks: _Checks) -> None:
    for name in ("dropout", "drop_path"):
        value = getattr(config.model, name)
        checks.need(value == -1 or 0 <= value < 1, f"model.{name}", "must be -1 or lie in 0…1")
    _probe(config, checks)


def _probe(config: Config, checks: _Checks) -> None:
    """What goes with a frozen network, and which settings are of which probe."""
    model, need = config.model, checks.need
    checks.least(1, ("model.probe_blocks",))
    checks.least(0, ("model.probe_heads",), "16, or as many as divide the features")
    for name, kind in (("probe_norm", "linear"), ("probe_blocks", "attentive"), ("probe_heads", "attentive")):
        standard = getattr(ModelConfig(), name)
        need(getattr(model, name) == standard or model.probe == kind, f"model.{name}", f"is for probe = {kind!r}")
    need(not model.probe or model.drop_path <= 0, "model.drop_path", "nothing of a probe's frozen network is dropped")
    need(not model.probe or not model.remat, "model.remat", "no backward pass goes through a probe's frozen network")
    for name in ("layer_decay", "backbone_factor"):
        need(
            not model.probe or getattr(config.optimizer, name) == 1,
            f"optimizer.{name}",
            f"is for networks that learn; with config.model.probe = {model.probe!r} the classifier alone does",
        )


def _frames(config: Config, checks: _Checks) -> None:
    """Which frames a clip takes, and their size."""
    data, need = config.data, checks.need
    checks.least(0, ("data.clip.num_frames", "data.clip.stride", "data.clip.fps", "data.clip.size"), "the model's own")
    two = len(data.clip.resize) <= 2 and all(r > 0 for r in data.clip.resize)
    need(two, "data.clip.resize", "give (short_side,) or (height, width)")
    for name, on in (("speed", data.sampling.speed != (1, 1)), ("temporal_jitter", data.sampling.temporal_jitter)):
        need(
            not on or data.sampling.train not in UNSTRIDED_RULES,
            f"data.sampling.{name}",
            f"needs a rule with a stride; config.data.sampling.train = {data.sampling.train!r} has none",
        )
    need(data.sampling.hop >= 0, "data.sampling.hop", "must be 0 or more source frames")
    need(
        data.sampling.hop <= 0 or data.sampling.eval == "sliding_window",
        "data.sampling.hop",
        "is for data.sampling.eval = 'sliding_window'",
    )
    need(
        data.sampling.train not in WHOLE_VIDEO_RULES,
        "data.sampling.train",
        "gives the whole video, which evaluation can use; training takes one clip: random, segments, …",
    )
    need(
        data.sampling.eval not in RANDOM_RULES,
        "data.sampling.eval",
        "draws other frames each time; evaluation takes multi_clip, uniform, …",
    )
    for rule in {data.sampling.train: None, data.sampling.eval: None}:
        known = SAMPLING_RULES.get(rule, (data.sampling.short_video,))
        allowed = f"the rule {rule} knows {', '.join(known)} only; auto chooses"
        need(data.sampling.short_video in ("auto", *known), "data.sampling.short_video", allowed)
    for name in ("mean", "std"):
        value = getattr(data.clip, name)
        ok = len(value) in (0, 3) and all(v > 0 or name == "mean" for v in value)
        need(
            ok,
            f"data.clip.{name}",
            "give three positive numbers, or ()" if name == "std" else "give three numbers, or ()",
        )


def _training_clips(config: Config, checks: _Checks) -> None:
    """How training clips are changed."""
    data, need = config.data, checks.need
    for name, most in (
        ("augment.scale", 1), ("augment.crop_area", 1), ("augment.erase_area", 1), ("augment.crop_aspect", 100),
        ("augment.erase_aspect", 100), ("sampling.speed", 100), ("augment.short_side", 10**5),
    ):  # fmt: skip
        value = setting(data, name)
        ok = len(value) == 2 and 0 < value[0] <= value[1] <= most
        need(ok, f"data.{name}", f"give (low, high) with 0 < low <= high <= {most}")
    checks.within(
        1,
        (
            "data.augment.colour_jitter",
            "data.augment.jittered",
            "data.augment.greyscale",
            "data.sampling.reverse",
            "data.augment.erase",
        ),
    )
    checks.within(0.5, ("data.augment.hue",))
    coloured = data.augment.jittered == 1 or data.augment.colour_jitter or data.augment.hue
    need(
        coloured,
        "data.augment.jittered",
        "is the share of clips that data.augment.colour_jitter and data.augment.hue change; both are 0",
    )
    checks.within(10, ("data.augment.randaugment_m", "data.augment.augmix_m"))
    checks.least(1, ("data.sampling.views", "data.augment.randaugment_n", "data.augment.augmix_width"))
    checks.least(0, ("data.augment.crop_gap", "data.augment.augmix_depth", "data.augment.randaugment_mstd"))
    need(data.augment.augmix_alpha > 0, "data.augment.augmix_alpha", "must be positive")
    falling = all(a > b for a, b in zip(data.augment.crop_scales, data.augment.crop_scales[1:], strict=False))
    need(
        len(data.augment.crop_scales) > 0 and falling and all(0 < s <= 1 for s in data.augment.crop_scales),
        "data.augment.crop_scales",
        "give shares in 0…1 in falling order",
    )
    need(data.augment.crop_positions in (0, 5, 13), "data.augment.crop_positions", "must be 5, 13, or 0 (anywhere)")
    need(
        data.augment.crop != "short_side" or min(data.augment.short_side, default=0) >= data.clip.size,
        "data.augment.short_side",
        f"must be config.data.clip.size = {data.clip.size} pixels or more",
    )


def _videos(config: Config, checks: _Checks) -> None:
    """Which videos there are."""
    data, need = config.data, checks.need
    need(data.folder_fps >= 0, "data.folder_fps", "must be 0 (the data set's, or else 25) or more")
    checks.least(1, ("data.split",))
    need(0 < data.train_share <= 1, "data.train_share", "must lie in 0…1, 1 being all of them")
    need(0 < data.eval_share < 1, "data.eval_share", "must lie between 0 and 1")
    need(
        all(0 < w < math.inf for w in data.mixture),
        "data.mixture",
        "give a positive weight for each source; leave out of config.data.train what is not wanted",
    )


def _reading(config: Config, checks: _Checks) -> None:
    """Who reads the videos."""
    checks.least(0, ("data.reading.num_workers",))
    checks.least(1, ("data.reading.num_threads", "data.reading.prefetch"))
    checks.need(config.data.reading.timeout > 0, "data.reading.timeout", "must be positive, in seconds")


def _evaluation(config: Config, checks: _Checks) -> None:
    data, ev = config.data, config.eval
    checks.least(1, ("eval.num_clips", "eval.batch_size"))
    checks.need(
        ev.num_clips <= 1 or data.sampling.eval not in ONE_CLIP_RULES,
        "eval.num_clips",
        f"must be 1 with config.data.sampling.eval = {data.sampling.eval!r}; multi_clip spreads several",
    )
    checks.need(ev.num_crops in (1, 3, 5, 10), "eval.num_crops", "must be 1, 3, 5 or 10")


def _optimizer(config: Config, checks: _Checks) -> None:
    opt, need = config.optimizer, checks.need
    need(opt.learning_rate > 0, "optimizer.learning_rate", "must be positive")
    checks.least(0, (f"optimizer.{name}" for name in ("base_batch", "warmup_epochs", "weight_decay", "clip_norm")))
    rising = all(a < b for a, b in zip((0.0, *opt.step_epochs), opt.step_epochs, strict=False))
    need(
        rising and bool(opt.step_epochs) == (opt.schedule == "steps"),
        "optimizer.step_epochs",
        "give rising numbers of epochs with optimizer.schedule = 'steps', and none with another schedule",
    )
    need(0 < opt.step_factor <= 1, "optimizer.step_factor", "must lie in 0…1")
    checks.within(1, ("optimizer.warmup_factor",))
    need(0 < opt.backbone_factor <= 1, "optimizer.backbone_factor", "must lie in 0…1, 1 being off")
    need(0 < opt.layer_decay <= 1, "optimizer.layer_decay", "must lie in 0…1, 1 being off")


def _classify(config: Config, checks: _Checks) -> None:
    classify, need = config.task.classify, checks.need
    need(0 <= classify.label_smoothing < 1, "task.classify.label_smoothing", "must lie in 0…1")
    checks.least(0, ("task.classify.mixup", "task.classify.cutmix"), "off")
    for name in ("mixup", "cutmix"):
        need(
            getattr(classify, name) <= 0 or config.train.batch_size >= 2,
            f"task.classify.{name}",
            "mixes videos of a batch; config.train.batch_size must be 2 or more",
        )
    checks.within(1, ("task.classify.mix_probability", "task.classify.cutmix_share"))
    for pair in classify.flip_pairs:
        ok = len(names := [name.strip() for name in pair.split("<>")]) == 2 and all(names) and names[0] != names[1]
        what = f"{pair!r} must be two classes joined by <>, such as 'turn left<>turn right'"
        need(ok, "task.classify.flip_pairs", what)


def _train(config: Config, checks: _Checks) -> None:
    train, need = config.train, checks.need
    checks.least(1, (f"train.{name}" for name in ("batch_size", "accumulate", "log_every", "keep_last")))
    need(
        train.accumulate < 1 or train.batch_size % train.accumulate == 0,
        "train.accumulate",
        f"must divide train.batch_size = {train.batch_size}",
    )
    need(train.epochs > 0 or train.steps > 0, "train.epochs", "must be positive (or give train.steps)")
    need(0 <= train.ema_decay < 1, "train.ema_decay", "must lie in 0…1")
    checks.least(1, ("train.precise_batches",))
    need(
        train.batch_norm == "sync" or not config.model.probe or config.model.probe_norm,
        "train.batch_norm",
        "must be 'sync' with config.model.probe but no probe_norm: the network under it keeps its statistics",
    )
    checks.least(0, ("train.skip_bad_steps",), "stop at the first")
    need(
        not train.best_metric or train.best_metric.split("/")[0] in ("clip", "video", "reconstruction"),
        "train.best_metric",
        "give clip/… or video/… of eval.json, such as video/top1, or reconstruction/explained",
    )


def _mesh(config: Config, checks: _Checks) -> None:
    mesh = config.mesh
    for name in ("data", "fsdp", "model"):
        value = getattr(mesh, name)
        checks.need(value == -1 or value >= 1, f"mesh.{name}", "must be -1 (all devices left) or a number of devices")
    checks.need(
        (mesh.data, mesh.fsdp, mesh.model).count(-1) <= 1,
        "mesh.model" if mesh.model == -1 else "mesh.fsdp",
        "only one of data, fsdp and model may be -1 (all devices left); mesh.data is so unless you set it",
    )
    checks.need(
        not mesh.tokens or mesh.model != 1,
        "mesh.tokens",
        "splits tokens over config.mesh.model, which must be 2 or more",
    )


def _choice_problems(config: Any, prefix: str = "config.") -> Iterable[str]:
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            yield from _choice_problems(value, f"{prefix}{f.name}.")
        elif "choices" in f.metadata and value not in f.metadata["choices"]:
            yield f"{prefix}{f.name} = {value!r}: must be one of {', '.join(map(repr, f.metadata['choices']))}"
