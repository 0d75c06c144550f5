"""Conversion of checkpoint files between other frameworks and vidjax."""

import contextlib
import inspect
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.table import Table

from vidjax.config import Config, ConfigError, ModelConfig, Spec
from vidjax.config.choices import CLASSIFIED
from vidjax.config.files import read_config
from vidjax.config.spec import resolve_spec
from vidjax.config.validate import validate
from vidjax.data.listing.class_lists import numbered_classes, read_class_names
from vidjax.data.records import LabelSpace
from vidjax.data.text import DataError
from vidjax.errors import UserError
from vidjax.inputs import TextInput, VideoInput
from vidjax.models.base import VideoNetwork
from vidjax.models.exits import without_exits
from vidjax.models.registry import get_spec, get_variant, list_models
from vidjax.models.state import split
from vidjax.models.streams import Streams
from vidjax.text import read_tokenizer
from vidjax.training.checkpoints import CheckpointFolderError, Meta, is_checkpoint, load_model, save_model
from vidjax.training.tokenizers import set_tokenizer
from vidjax.weights.hf_config import Description, describe, other_input
from vidjax.weights.load import load_with_arguments, warn_of_pixels
from vidjax.weights.low_rank import write_adapter
from vidjax.weights.packages import classes_of
from vidjax.weights.read import CheckpointError
from vidjax.weights.streams import spec_of
from vidjax.weights.table import sources
from vidjax.weights.write import to_state_dict, writable, write_file, write_transformers
from vidjax.wording import things

logger = logging.getLogger("vidjax")


def convert(
    name: str,
    checkpoint: str,
    out: str | Path,
    *,
    source: str | None = None,
    num_classes: int | None = None,
    class_names: str | None = None,
    tokenizer: str = "",
    recipe: str = "",
    adapter: str = "",
    param_dtype: str = "float32",
) -> int:
    """Load `checkpoint` into the model `name` and write it to the new folder `out`.

    The class names and the preparation of pixels in a transformers folder are kept; the latter is printed if it
    differs from the model's spec.

    Args:
      name: name of the model, one of `list_models()`.
      checkpoint: file or folder, as for `load_pretrained`.
      out: new folder, which then works with `predict`, `eval.py --checkpoint` and `config.model.init_from`.
      source: naming scheme of the checkpoint; None: recognised by its keys.
      num_classes: number of classes of a new head; None: the checkpoint's.
      class_names: file with one class name per line, or the name of a data set, such as kinetics400; None: the names in
        a transformers folder, those of an installed package's network, or else class_000, class_001, …
      tokenizer: file of the tokenizer, for a network that reads texts; empty: that in the checkpoint's folder, if any.
      recipe: config file, or name of a recipe, for this model: its settings of data, task and evaluation are kept, so
        that what uses the folder reads and decodes as they say; empty: the defaults.
      adapter: folder of low-rank pairs as peft writes them, whose products are added to the weights; empty: none.
      param_dtype: type in which the parameters are stored, a value of `config.model.param_dtype`.

    Returns:
      0, the exit status.

    Raises:
      UserError: if the tokenizer cannot be used, or the network reads no text.
      CheckpointError: if the checkpoint or the adapter does not fit the model, or a folder's classes or preparation of
        pixels cannot be used; it names every key.
      DataError: if there are more or fewer class names than classes.
    """
    given = _given(recipe, name)
    own = _with_tokenizer(get_spec(name), checkpoint, tokenizer)
    said = describe(checkpoint)
    if data_set := classes_of(checkpoint, name):
        said = Description(read_class_names(data_set))
    changed: dict[str, Any] = {}
    if any(isinstance(value, VideoInput) for value in own.inputs.values()):
        changed = other_input(said.clip, own.video, ("num_frames", "size", "resize", "mean", "std"))
    else:
        warn_of_pixels(checkpoint, said.clip, own, name)
    if "size" in changed:  # the model's own resizing does not suit another size
        changed["resize"] = said.clip.get("resize", own.video.resize)
    data = replace(given.data, clip=replace(given.data.clip, **changed))
    build = get_variant(name).build
    takes = inspect.signature(build.__init__ if inspect.isclass(build) else build).parameters
    grid = {key: changed[key] for key in ("num_frames", "size") if key in changed and key in takes}
    model, kwargs = load_with_arguments(
        name, checkpoint, source=source, num_classes=num_classes, adapter=adapter, param_dtype=param_dtype,
        **{**given.model.kwargs, **grid},
    )  # fmt: skip
    count = 0 if get_variant(name).words else getattr(getattr(model, "head", None), "out_features", 0)
    names = _names_of_classes(count, said, checkpoint, class_names, anew=num_classes is not None)
    stored = ModelConfig(name=name, kwargs=kwargs, param_dtype=param_dtype)
    config = Config(model=stored, data=data, task=given.task, eval=given.eval)
    save_model(out, model, Meta(config, resolve_spec(own, data), LabelSpace(names)))
    if changed:
        logger.warning(
            "%s prepares its clips differently from %s, and that is kept: %s",
            checkpoint,
            name,
            "; ".join(f"{k} {_text(v)}, not {_text(getattr(own.video, k))}" for k, v in changed.items()),
        )
    _, params, _ = split(model)
    classes = f"{len(names)} classes" if names else "no classifier"
    Console().print(
        f"{name}: {sum(p.size for p in params.values()):,} parameters, {classes}; written to {out}",
        highlight=False,
        soft_wrap=True,
    )
    return 0


def _given(recipe: str, name: str) -> Config:
    """Settings of a recipe for the model `name`; without a recipe, the defaults."""
    if not recipe:
        return Config()
    given = validate(read_config([f"--config={recipe}"]))
    if given.model.name != name:
        raise ConfigError(f"--config={recipe}: is for {given.model.name}, not {name}; give a config for this model")
    return given


def _with_tokenizer(spec: Spec, checkpoint: str, tokenizer: str) -> Spec:
    """Spec with the tokenizer given, or that in the checkpoint's folder; without either, a warning is logged."""
    if not any(isinstance(value, TextInput) for value in spec.inputs.values()):
        if tokenizer:
            raise UserError(f"--tokenizer={tokenizer}: {spec.name} reads no text; leave it out")
        return spec
    if tokenizer:
        return set_tokenizer(spec, read_tokenizer(tokenizer))
    if Path(checkpoint).is_dir():
        with contextlib.suppress(UserError):
            return set_tokenizer(spec, read_tokenizer(checkpoint))
    logger.warning("%s: there is no tokenizer beside it, so that texts cannot be read; give --tokenizer", checkpoint)
    return spec


def convert_back(
    run: str, out: str, to: str, *, step: int | None = None, stream: str = "", adapter: bool = False
) -> int:
    """Write a trained model as another framework's checkpoint.

    Args:
      run: a work directory, or a folder written by `convert`.
      out: new `.pth`, `.pt`, `.pyth` or `.safetensors` file; for transformers a new folder.
      to: naming scheme of the weights, one of those printed by `list_sources`.
      step: number of the update whose checkpoint is written; None: the best.
      stream: name of the stream that is written, of a network of several; empty: the whole network.
      adapter: whether to write only what training with low-rank pairs has changed, as a new folder for peft.

    Returns:
      0, the exit status.

    Raises:
      CheckpointError: if that framework has no such network, `out` exists already, or there are no low-rank pairs.
      UserError: if there is no such stream.
      CheckpointFolderError: if there is no checkpoint, or it is a probe's.
      ImportError: if PyTorch is needed and missing.
    """
    model, meta, step = load_model(run, step=step, pairs=adapter)
    name, kwargs = meta.config.model.name, meta.config.model.kwargs
    if meta.config.model.probe:
        raise CheckpointFolderError(
            f"{run} holds a {meta.config.model.probe} probe of {name}, but other frameworks know only the network: "
            "convert the checkpoint that it started from"
        )
    spec = meta.spec
    with contextlib.ExitStack() as alone:
        alone.enter_context(without_exits(model))
        if isinstance(model, Streams):
            if not stream:
                raise CheckpointError(f"{run} holds {name}, a network of several streams: choose one with --stream")
            kwargs = kwargs.get(f"{stream}_options") or {}
            network = alone.enter_context(model.alone(stream))
            name, spec, model = dict(model.names)[stream], spec_of(spec, model, stream), network
        elif stream:
            raise CheckpointError(f"{run} holds {name}, which has no streams: leave --stream out")
        if adapter:
            base = "" if is_checkpoint(meta.config.model.init_from) else meta.config.model.init_from
            count = write_adapter(out, cast(VideoNetwork, model), name=name, to=to, base=base)
            print(f"{name} of update {step} as {to}: {things(count, 'low-rank pair')}; written to {out}")
            return 0
        state = to_state_dict(model, name, to, **kwargs)
        if to == "transformers":
            write_transformers(out, state, model, spec, meta.labels.names)
        else:
            write_file(out, state, to)
    given = "; ".join(f"{value.phrase}, {value.preparation}" for value in spec.inputs.values())
    Console().print(
        f"{name} of update {step} as {to}: {len(state)} tensors, {len(meta.labels.names)} classes; written to {out}\n"
        f"its input: {given}",
        highlight=False,
        soft_wrap=True,
    )
    return 0


def list_sources() -> int:
    """Print which formats can be read into which models, and which can be written."""
    models: dict[str, dict[str, None]] = {}  # a source may have several tables
    for source in sources():
        models.setdefault(source.name, {}).update(dict.fromkeys(source.models))
    back: dict[str, list[str]] = {}
    for name in list_models():
        for source in writable(name):
            back.setdefault(source, []).append(name)
    table = Table(
        "source (--from, --to)", "read into", "written from", title="Other frameworks' checkpoints", show_lines=True
    )
    for name, patterns in models.items():
        table.add_row(name, ", ".join(patterns), ", ".join(back.get(name, [])) or "—")
    Console().print(table)
    return 0


def _names_of_classes(
    count: int, said: Description, checkpoint: str, file: str | None, *, anew: bool
) -> tuple[str, ...]:
    """Class names from `file`, or else those known of the checkpoint, or else made from numbers.

    Args:
      count: number of classes; 0: there is no classifier.
      said: what is known of the checkpoint.
      checkpoint: path of the checkpoint, for messages.
      file: path of a file with one name per line, or name of a data set, if given.
      anew: whether the number of classes was given, so that the classifier may be new.
    """
    own = said.class_names if count else ()
    if len(own) not in (0, count):
        if not anew and file is None:
            raise CheckpointError(
                f"{checkpoint}/config.json: id2label names {len(own)} classes, but the classifier has {count}; correct "
                "it, give the names with --class-names, or --num-classes for a new classifier"
            )
        own = ()
    if file is None:
        return own or numbered_classes(count)
    names = _class_names(file, count)
    if own and names != own:
        first = next(i for i, (a, b) in enumerate(zip(names, own, strict=True)) if a != b)
        logger.warning(
            "%s has %s than are known of %s, and takes precedence: class %d is %r, there %r",
            file, "the same names in another order" if set(names) == set(own) else "other names", checkpoint,
            first, names[first], own[first],
        )  # fmt: skip
    return names


def _class_names(file: str, count: int) -> tuple[str, ...]:
    if file in CLASSIFIED:
        names = read_class_names(file)
    else:
        names = tuple(line.strip() for line in Path(file).read_text(encoding="utf-8").splitlines() if line.strip())
    if len(names) != count:
        raise DataError(f"{file}: {len(names)} class names for a head of {count} classes")
    if len(set(names)) < count:
        raise DataError(f"{file}: the class name {next(n for n in names if names.count(n) > 1)!r} is listed twice")
    return names


def _text(value: Any) -> str:
    """A setting as text, with few digits."""
    if isinstance(value, tuple):
        return " ".join(f"{part:.4g}" for part in value)
    return f"{value}"
