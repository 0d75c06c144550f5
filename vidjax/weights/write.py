"""Writing of a vidjax model as another framework's checkpoint: the tables that read checkpoints, applied backwards.

The written file loads strictly there: it has every key of the reference's state dict, including those that are not
parameters, such as counters of norms and indices of windows.
"""

import fnmatch
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from vidjax.config import Spec
from vidjax.models.registry import abstract_model, family_of, get_variant, list_models
from vidjax.models.state import split
from vidjax.weights.hf_config import model_config, preprocessor_config
from vidjax.weights.patterns import unfill
from vidjax.weights.read import CheckpointError
from vidjax.weights.table import Rule, Source, nobodys, sources
from vidjax.weights.torch_files import write_archive

StateDict = dict[str, np.ndarray]
Filled = dict[str, tuple[Rule, tuple[str, ...]]]


@dataclass(frozen=True)
class _Layout:
    """Layout of a framework's files: the entry that holds the weights, and the prefix of their keys."""

    entry: str = ""
    prefix: str = ""
    bare: tuple[str, ...] = ()  # keys with one of these starts have no prefix


_LAYOUTS = {
    "mmaction2": _Layout("state_dict", "backbone.", ("cls_head.", "roi_head.")),
    "video_swin": _Layout("state_dict", "backbone.", ("cls_head.",)),
    "pytorchvideo": _Layout("model_state"),
    "slowfast": _Layout("model_state"),
    "opentad": _Layout("state_dict_ema", "module."),
    "timesformer": _Layout("model_state", "model."),
    "videomae": _Layout("model"),
    "videoprism": _Layout("", "params."),
    **dict.fromkeys(("smolvlm2", "videollama3", "videollama3_original"), _Layout("", "model.", ("lm_head.",))),
}
_COUNTERS = "*.num_batches_tracked"


def writable(name: str) -> list[str]:
    """Names of the sources as which a model can be written."""
    return list(dict.fromkeys(s.name for s in sources() if s.serves(name) and _writes(s)))


def _writes(source: Source) -> bool:
    return not source.read_only and not source.inflates


def to_state_dict(model: nnx.Module, name: str, to: str, **kwargs: Any) -> StateDict:
    """Convert a model's weights to another framework's state dict.

    Args:
      model: the model, as built by `create_model(name, …)`.
      name: name of the model, one of `vidjax.list_models()`.
      to: name of the source, one of `writable(name)`.
      **kwargs: further arguments with which the model was built.

    Returns:
      `{key: array}` with every key of the reference's `state_dict()`: float32, counters and indices int64.

    Raises:
      CheckpointError: if the framework has no such network; it names every parameter without a counterpart.
    """
    _, params, stats = split(model)
    arrays = {path: np.asarray(array) for path, array in {**params, **stats}.items()}
    table, filled = table_of(model, arrays, name, to, kwargs)
    out = written(arrays, filled)
    if table.buffers is not None:
        out |= table.buffers(out)
    out = table.restacked(with_counters(out, table))
    return {prefixed(key, to): np.array(a, order="C") for key, a in out.items()}


def prefixed(key: str, to: str) -> str:
    """A key as in a framework's own files."""
    layout = _LAYOUTS.get(to, _Layout())
    return key if key.startswith(layout.bare) else layout.prefix + key


def table_of(
    model: nnx.Module, arrays: Mapping[str, Any], name: str, to: str, kwargs: Mapping[str, Any] | None = None
) -> tuple[Source, Filled]:
    """The table by which a model is written, and the rule and keys of each array.

    Args:
      model: the model.
      arrays: its parameters and statistics by path.
      name, to: as for `to_state_dict`.
      kwargs: further arguments with which the model was built, to check that its size is the framework's; None: it may
        have any size.

    Raises:
      CheckpointError: as `to_state_dict` does.
    """
    table, filled = _table(arrays, name, to)
    if kwargs is not None:
        _check_network(arrays, name, table, filled, kwargs)
    if differs := table.differs(dict(getattr(model, "conventions", ()))):
        theirs = "\n".join(f"  {key} = {value!r}" for key, value in differs.items())
        raise CheckpointError(f"this {name} is not the network that {to} has, with the same shapes; there\n{theirs}")
    return table, filled


def with_counters(state: StateDict, source: Source) -> StateDict:
    """Add the counters of norms, zeros, if the source's files have them."""
    if _COUNTERS not in source.ignore:
        return state
    layers = [key.removesuffix(".running_mean") for key in state if key.endswith(".running_mean")]
    return state | {f"{layer}.num_batches_tracked": np.zeros((), np.int64) for layer in layers}


def written(arrays: Mapping[str, np.ndarray], filled: Filled) -> StateDict:
    """Apply rules backwards.

    Args:
      arrays: parameters and statistics by their paths.
      filled: rule and keys of each path, see `rule_of`.
    """
    out: StateDict = {}
    for path, (rule, keys) in filled.items():
        out |= dict(zip(keys, rule.transform.inverse(arrays[path]), strict=True))
    return out


def write_file(file: str | Path, state: Mapping[str, np.ndarray], to: str) -> None:
    """Write a state dict as `.safetensors`, as a NumPy archive of a Flax tree, or for `torch.load`, nested as in the
    framework's own files.

    Raises:
      CheckpointError: if the file exists, or its name has another ending.
    """
    file = Path(file)
    if file.exists():
        raise CheckpointError(f"{file}: exists; give a new file")
    if file.suffix == ".safetensors":
        from safetensors.numpy import save_file

        save_file(dict(state), file)
        return
    if file.suffix == ".npz":
        tree: dict[str, Any] = {key.replace(".", "/"): array for key, array in state.items()}
        with file.open("xb") as opened:
            np.savez(opened, **tree)
        return
    if file.suffix not in (".pth", ".pt", ".pyth", ".th", ".ckpt", ".bin"):
        raise CheckpointError(f"{file}: end it in .pth, .pt or .pyth (PyTorch's), .safetensors, or .npz (Flax's)")
    entry = _LAYOUTS.get(to, _Layout()).entry
    write_archive(file, {entry: state} if entry else state)


def write_transformers(
    folder: str | Path, state: Mapping[str, np.ndarray], model: nnx.Module, spec: Spec, class_names: tuple[str, ...]
) -> None:
    """Write a folder for transformers' `from_pretrained` and image processors.

    Args:
      folder: path of a new or empty folder.
      state: state dict from `to_state_dict(…, "transformers")`.
      model: model of the state dict.
      spec: clip length, size and normalisation of the model.
      class_names: class names in the order of the classifier.

    Raises:
      CheckpointError: if the folder is not empty.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise CheckpointError(f"{folder}: is not empty; give a new folder")
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(state), folder / "model.safetensors", metadata={"format": "pt"})
    for name, content in (
        ("config.json", model_config(model, spec, class_names)),
        ("preprocessor_config.json", preprocessor_config(spec)),
    ):
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _table(arrays: Mapping[str, Any], name: str, to: str) -> tuple[Source, Filled]:
    """The first table of the framework that has every parameter, and the rule and keys of each."""
    known = writable(name)
    if to not in known:
        why = nobodys(name) or (f"{to} can only be read" if _only_read(name, to) else f"{to!r} has no such network")
        alike = [other for other in list_models() if to in writable(other) and family_of(other) == family_of(name)]
        others = f" Of its family, {', '.join(alike)} can be." if alike else ""
        can = f" It can be written as {', '.join(known)}." if known else ""
        raise CheckpointError(f"{name} cannot be written as {to!r}: {why}.{can}{others}")
    lacking: list[str] = []
    for table in sources():
        if table.name != to or not table.serves(name) or not _writes(table):
            continue
        filled = {path: found for path in arrays if (found := rule_of(table, path))}
        lacking = [path for path in arrays if path not in filled and not table.keeps(path)]
        keys = {key for _, keys in filled.values() for key in keys}
        if not lacking and all(key not in keys for key in table.absent):
            return table, filled
    raise CheckpointError(
        f"{name} cannot be written as {to}: that network lacks\n" + "\n".join(f"  {path}" for path in lacking)
    )


def _only_read(name: str, to: str) -> bool:
    return any(s.name == to and s.serves(name) for s in sources())


def rule_of(table: Source, path: str) -> tuple[Rule, tuple[str, ...]] | None:
    """The rule of a table that makes a parameter, and the keys from which it makes it; None: the source lacks it."""
    for rule in table.rules:
        values = unfill(rule.path, path)
        if values is None:
            continue
        keys = rule.fill(values)[0]
        # A rule counts for a key only if no earlier one matches it, and if the key holds a parameter.
        first = next((r for r in table.rules if r.match(keys[0]) is not None), None)
        if first == rule and not any(fnmatch.fnmatchcase(keys[0], pattern) for pattern in table.ignore):
            return rule, keys
    return None


def _check_network(
    arrays: Mapping[str, Any], name: str, table: Source, filled: Filled, kwargs: Mapping[str, Any]
) -> None:
    """Check that a network differs from the reference's only in its classes and the sizes of its position tables."""
    variant, head = get_variant(name), arrays.get(f"{table.head}.kernel")
    classes = 0 if head is None else head.shape[-1]
    _, params, stats = split(abstract_model(name, num_classes=classes, **table.kwargs))
    wanted = {path: array.shape for path, array in {**params, **stats}.items()}
    tables = getattr(variant.build, "positions", {})
    free = {
        path
        for path, (rule, _) in filled.items()
        if rule.fit is not None or any(fnmatch.fnmatchcase(path, pattern) for pattern in tables)
    }
    paths = sorted(arrays.keys() | wanted.keys())
    different = [
        f"  {path}: {arrays[path].shape if path in arrays else 'absent'}, there {wanted.get(path, 'absent')}"
        for path in paths
        if path not in free and not table.keeps(path) and (path not in arrays or arrays[path].shape != wanted.get(path))
    ]
    # Arguments that leave no trace in the shapes, such as the place of a pooling.
    own = {
        k: v
        for k, v in kwargs.items()
        if k not in ("dropout", "drop_path", "remat", "scan_blocks", "num_frames", "size")
    }
    build = variant.build.__init__ if inspect.isclass(variant.build) else variant.build
    usual = {k: p.default for k, p in inspect.signature(build).parameters.items()} | variant.kwargs
    other = [f"  {k} = {v!r}" for k, v in own.items() if {**usual, **table.kwargs}.get(k, v) != v]
    if different or other:
        raise CheckpointError(
            f"this {name} is not the network that {table.name} has; it differs in\n" + "\n".join([*other, *different])
        )
