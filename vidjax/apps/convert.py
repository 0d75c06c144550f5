"""Turn another framework's checkpoint into a vidjax one, on disk, and the other way round."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from vidjax.config import Config, ModelConfig
from vidjax.data.records import DataError
from vidjax.models.registry import get_spec, get_variant, list_models
from vidjax.models.state import split
from vidjax.predictor import numbered_classes
from vidjax.training.checkpoints import CheckpointFolderError, Meta, load_model, save_model
from vidjax.weights.load import load_with_arguments
from vidjax.weights.source import sources
from vidjax.weights.write import to_state_dict, writable, write_file, write_transformers


def convert(
    name: str,
    checkpoint: str,
    out: str | Path,
    *,
    source: str | None = None,
    num_classes: int | None = None,
    class_names: str | None = None,
) -> int:
    """Load `checkpoint` into the model `name` and write it to the new folder `out`.

    Args:
      name: one of `list_models()`.
      checkpoint: see `load_pretrained`.
      out: the result works with `predict`, `eval.py --checkpoint` and `config.model.init_from`.
      source: what wrote the checkpoint; None: recognised by its keys.
      num_classes: size of a new head; None: the checkpoint's.
      class_names: file with one class name a line; None: the classes are called class_000, class_001, …

    Returns:
      0, the exit status.

    Raises:
      CheckpointError: if the checkpoint does not fit the model, naming every key.
      DataError: if there are more or fewer class names than classes.
    """
    get_variant(name)
    model, kwargs = load_with_arguments(name, checkpoint, source=source, num_classes=num_classes)
    classifies = get_spec(name).objective == "classify"
    names = _class_names(class_names, model.head.out_features if classifies else 0)
    config = Config(model=ModelConfig(name=name, kwargs=kwargs))
    save_model(out, model, Meta(config, get_spec(name), names))
    _, params, _ = split(model)
    classes = f"{len(names)} classes" if classifies else "no classifier"
    Console().print(
        f"{name}: {sum(p.size for p in params.values()):,} parameters, {classes}; written to {out}",
        highlight=False,
        soft_wrap=True,
    )
    return 0


def convert_back(run: str, out: str, to: str, *, step: int | None = None) -> int:
    """Write a trained model for users of another framework.

    Args:
      run: a work directory, or a folder written by `convert`.
      out: new `.pth`, `.pt`, `.pyth` or `.safetensors` file; for transformers a new folder.
      to: whose names the weights get, one of those that `list_sources` prints.
      step: which checkpoint; None: the best.

    Returns:
      0, the exit status.

    Raises:
      CheckpointError: if that framework has no such network, or something is at `out` already.
      CheckpointFolderError: if there is no checkpoint, or a probe's.
      ImportError: if PyTorch is needed and missing.
    """
    model, meta, step = load_model(run, step=step)
    name, kwargs = meta.config.model.name, meta.config.model.kwargs
    if meta.config.model.probe:
        raise CheckpointFolderError(
            f"{run} holds a {meta.config.model.probe} probe of {name}, of which other frameworks know the network "
            "alone: convert the checkpoint that it started from"
        )
    state = to_state_dict(model, name, to, **kwargs)
    if to == "transformers":
        write_transformers(out, state, model, meta.spec, meta.class_names)
    else:
        write_file(out, state, to)
    spec = meta.spec
    Console().print(
        f"{name} of update {step} as {to}: {len(state)} tensors, {len(meta.class_names)} classes; written to {out}\n"
        f"its input: RGB in 0…1, less {spec.mean}, divided by {spec.std}; clips of {spec.num_frames} frames at "
        f"{spec.size}²",
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
    table = Table("source (--from, --to)", "read into", "written from", title="Checkpoints of others", show_lines=True)
    for name, patterns in models.items():
        table.add_row(name, ", ".join(patterns), ", ".join(back.get(name, [])) or "—")
    Console().print(table)
    return 0


def _class_names(file: str | None, count: int) -> tuple[str, ...]:
    if file is None:
        return numbered_classes(count)
    names = tuple(line.strip() for line in Path(file).read_text(encoding="utf-8").splitlines() if line.strip())
    if len(names) != count:
        raise DataError(f"{file}: {len(names)} class names for a head of {count} classes")
    if len(set(names)) < count:
        raise DataError(f"{file}: the class name {next(n for n in names if names.count(n) > 1)!r} stands there twice")
    return names
