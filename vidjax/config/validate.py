"""Validation of settings, whatever the data: ranges are defined with each field, rules between fields here."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from vidjax.config import (
    ClassifyConfig,
    Config,
    ConfigError,
    ModelConfig,
    OptimizerConfig,
    ReadingConfig,
    TrainConfig,
    apply_preset,
    from_dict,
    setting,
)
from vidjax.config.choices import ONE_CLIP_RULES, RANDOM_RULES, SAMPLING_RULES, UNSTRIDED_RULES, WHOLE_VIDEO_RULES


def validate(config: Config) -> Config:
    """Check every field and return a copy of `config` with its preset applied.

    Raises:
      ConfigError: if fields are invalid; names each, its value and the allowed ones.
    """
    config = from_dict(dataclasses.asdict(config))
    config.data = apply_preset(config.data)
    checks = _Checks(config)
    for check in (
        _probe,
        _exits,
        _low_rank,
        _sampling,
        _reading,
        _training_clips,
        _evaluation,
        _classify,
        _optimizer,
        _train,
        _mesh,
    ):
        check(config, checks)
    if checks.problems:
        raise ConfigError("\n".join(checks.problems))
    return config


class _Checks:
    """Problems of a config, one line per field."""

    def __init__(self, config: Config):
        self.config = config
        self.problems = list(_wrong_values(config))

    def need(self, ok: bool, name: str, what: str) -> None:
        """Add the problem `what` of `config.NAME` unless `ok`."""
        if not ok:
            self.problems.append(f"config.{name} = {setting(self.config, name)!r}: {what}")


def _wrong_values(section: Any, prefix: str = "config.") -> Iterable[str]:
    """Problems of single fields, independent of the others."""
    for f in dataclasses.fields(section):
        value, check = getattr(section, f.name), f.metadata.get("check")
        if dataclasses.is_dataclass(value):
            yield from _wrong_values(value, f"{prefix}{f.name}.")
        elif check is not None and (what := check(value)):
            yield f"{prefix}{f.name} = {value!r}: {what}"


def _probe(config: Config, checks: _Checks) -> None:
    """Settings allowed with a frozen network, and settings of each probe."""
    model, need = config.model, checks.need
    kinds = {"probe_norm": "linear", "probe_layer": "linear", "probe_blocks": "attentive", "probe_heads": "attentive"}
    for name, kind in kinds.items():
        standard = getattr(ModelConfig(), name)
        need(getattr(model, name) == standard or model.probe == kind, f"model.{name}", f"is for probe = {kind!r}")
    need(not model.probe or model.drop_path <= 0, "model.drop_path", "has no effect on a probe's frozen network")
    need(not model.probe or not model.remat, "model.remat", "a probe's frozen network has no backward pass")
    for name in ("layer_decay", "backbone_factor"):
        need(
            not model.probe or getattr(config.optimizer, name) == 1,
            f"optimizer.{name}",
            f"needs a trainable backbone, but config.model.probe = {model.probe!r} freezes it; set it to 1 or drop the "
            "probe",
        )


def _exits(config: Config, checks: _Checks) -> None:
    """Settings allowed with early exits."""
    model, need = config.model, checks.need
    standard = ModelConfig().exit_weight
    need(bool(model.exits) or model.exit_weight == standard, "model.exit_weight", "is for model.exits")
    if not model.exits:
        return
    what = "trains a part of the network of its own; leave it or config.model.exits out"
    need(not model.probe, "model.probe", what)
    need(not model.lora_rank, "model.lora_rank", what)
    need(
        not config.train.teacher,
        "train.teacher",
        "teaches the end alone; leave it or config.model.exits out",
    )
    for name in ("remat", "scan_blocks"):
        need(
            not getattr(model, name),
            f"model.{name}",
            "has no effect with config.model.exits, whose layers run one by one",
        )


def _low_rank(config: Config, checks: _Checks) -> None:
    """Settings allowed with low-rank pairs."""
    model, need = config.model, checks.need
    for name in ("lora_alpha", "lora_layers", "lora_whole", "lora_from"):
        standard = getattr(ModelConfig(), name)
        need(getattr(model, name) == standard or model.lora_rank > 0, f"model.{name}", "is for lora_rank")
    if model.lora_rank:
        need(not model.probe, "model.probe", "trains a classifier on a frozen network: give it or lora_rank")
        need(not model.frozen, "model.frozen", "lora_rank freezes all but its pairs and lora_whole")
        need(model.drop_path <= 0, "model.drop_path", "has no effect on the network that lora_rank freezes")


def _sampling(config: Config, checks: _Checks) -> None:
    """Sampling rules and the settings allowed with them."""
    sampling, need = config.data.sampling, checks.need
    for name, on in (("speed", sampling.speed != (1, 1)), ("temporal_jitter", sampling.temporal_jitter)):
        need(
            not on or sampling.train not in UNSTRIDED_RULES,
            f"data.sampling.{name}",
            f"needs a rule with a stride; config.data.sampling.train = {sampling.train!r} has none",
        )
    need(
        sampling.hop <= 0 or sampling.eval == "sliding_window",
        "data.sampling.hop",
        "is for data.sampling.eval = 'sliding_window'",
    )
    need(
        sampling.train not in WHOLE_VIDEO_RULES,
        "data.sampling.train",
        "gives the whole video, for evaluation only; training takes one clip: random, segments, …",
    )
    need(
        sampling.eval not in RANDOM_RULES,
        "data.sampling.eval",
        "draws different frames each time; evaluation takes multi_clip, uniform, …",
    )
    for rule in {sampling.train: None, sampling.eval: None}:
        known = SAMPLING_RULES.get(rule, (sampling.short_video,))
        allowed = f"the rule {rule} supports only {', '.join(known)}; auto chooses"
        need(sampling.short_video in ("auto", *known), "data.sampling.short_video", allowed)


def _reading(config: Config, checks: _Checks) -> None:
    """Limits of decoding."""
    reading, standard = config.data.reading, ReadingConfig()
    what = "is kept by a process of its own, but config.data.reading.isolate = False; leave one of them out"
    for name in ("max_memory", "patience"):
        checks.need(reading.isolate or getattr(reading, name) == getattr(standard, name), f"data.reading.{name}", what)


def _training_clips(config: Config, checks: _Checks) -> None:
    """Augmentation of training clips."""
    augment, size, need = config.data.augment, config.data.clip.size, checks.need
    need(
        augment.jittered == 1 or augment.colour_jitter or augment.hue,
        "data.augment.jittered",
        "is the probability of data.augment.colour_jitter and data.augment.hue, but both are 0",
    )
    need(
        augment.crop != "short_side" or min(augment.short_side, default=0) >= size,
        "data.augment.short_side",
        f"must be at least config.data.clip.size = {size} pixels",
    )


def _evaluation(config: Config, checks: _Checks) -> None:
    rule = config.data.sampling.eval
    checks.need(
        config.eval.num_clips <= 1 or rule not in ONE_CLIP_RULES,
        "eval.num_clips",
        f"must be 1 with config.data.sampling.eval = {rule!r}; multi_clip spreads several",
    )


def _classify(config: Config, checks: _Checks) -> None:
    for loss, names in (
        ("focal", ("focal_gamma", "focal_alpha")),
        ("asymmetric", ("asymmetric_positive", "asymmetric_negative", "asymmetric_margin")),
    ):
        for name in names:
            own = getattr(config.task.classify, name) == getattr(ClassifyConfig(), name)
            what = f"is for config.task.classify.loss = {loss!r}"
            checks.need(own or config.task.classify.loss == loss, f"task.classify.{name}", what)
    for name in ("mixup", "cutmix"):
        checks.need(
            getattr(config.task.classify, name) <= 0 or config.train.batch_size >= 2,
            f"task.classify.{name}",
            "mixes videos of a batch; config.train.batch_size must be 2 or more",
        )


def _optimizer(config: Config, checks: _Checks) -> None:
    opt = config.optimizer
    rising = all(a < b for a, b in zip((0.0, *opt.step_epochs), opt.step_epochs, strict=False))
    checks.need(
        rising and bool(opt.step_epochs) == (opt.schedule == "steps"),
        "optimizer.step_epochs",
        "give ascending numbers of epochs with optimizer.schedule = 'steps', and none with another schedule",
    )
    checks.need(
        opt.backbone_factor != 1 or opt.full_rate == OptimizerConfig().full_rate,
        "optimizer.full_rate",
        "is for optimizer.backbone_factor, the factor of all other parts",
    )


def _train(config: Config, checks: _Checks) -> None:
    train, need = config.train, checks.need
    need(
        train.accumulate < 1 or train.batch_size % train.accumulate == 0,
        "train.accumulate",
        f"must divide train.batch_size = {train.batch_size}",
    )
    for name in ("teacher_weight", "teacher_temperature", "teacher_tokens"):
        need(
            bool(train.teacher) or getattr(train, name) == getattr(TrainConfig(), name),
            f"train.{name}",
            "is for config.train.teacher, which is empty",
        )
    need(train.epochs > 0 or train.steps > 0, "train.epochs", "must be positive (or give train.steps)")
    need(
        train.batch_norm == "sync" or not config.model.probe or config.model.probe_norm,
        "train.batch_norm",
        "must be 'sync' with config.model.probe but no probe_norm: the frozen network keeps its statistics",
    )


def _mesh(config: Config, checks: _Checks) -> None:
    mesh = config.mesh
    checks.need(
        (mesh.data, mesh.fsdp, mesh.model).count(-1) <= 1,
        "mesh.model" if mesh.model == -1 else "mesh.fsdp",
        "only one of data, fsdp and model may be -1 (all devices left); mesh.data is -1 unless you set it",
    )
    checks.need(
        not mesh.tokens or mesh.model != 1,
        "mesh.tokens",
        "splits tokens over config.mesh.model, which must be 2 or more",
    )
