"""Low-rank pairs (LoRA) as peft publishes them: a folder with `adapter_config.json` and `adapter_model.safetensors`.

The file names the modules of another framework's network: `base_model.model.MODULE.lora_A.weight` is `(r, I)`,
`….lora_B.weight` `(O, r)`, and what is added to the module's weight is B A times α / r, or with `use_rslora` α / √r.
Its other keys are parameters that were trained whole. A module's weight becomes a kernel here by the tables that map
weights; where it is a part of one, as the queries are of a joint kernel, the parts' pairs stand beside each other.

Source: peft's `tuners/lora/config.py`, `tuners/lora/layer.py` and `utils/save_and_load.py`; the file names and fields
are theirs.
"""

import fnmatch
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidjax.models.base import LOW_RANK, VideoNetwork
from vidjax.models.low_rank import without_pairs
from vidjax.models.state import Arrays, assign, frozen_paths, like, split
from vidjax.weights.hf_config import read_object
from vidjax.weights.layouts import LINEAR, dims
from vidjax.weights.read import CheckpointError, common_start, read_state_dict
from vidjax.weights.table import Rule, Source, listed, sources
from vidjax.weights.write import prefixed, table_of

CONFIG, WEIGHTS = "adapter_config.json", ("adapter_model.safetensors", "adapter_model.bin")
_ROOT = "base_model.model."
_PAIR = (".lora_A.weight", ".lora_B.weight")
# Fields of the config that, where set, make more of the pairs than a product that is added.
_OTHER_SUMS = (
    "use_dora", "fan_in_fan_out", "layer_replication", "lora_bias", "target_parameters", "trainable_token_indices",
    "alora_invocation_tokens", "use_qalora", "use_bdlora", "velora_config", "monteclora_config", "arrow_config",
    "kasa_config",
)  # fmt: skip
# Beginnings of the pairs that leave the weights beside them as they were; others subtract something from them.
_PLAIN_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")

Pair = tuple[np.ndarray, np.ndarray]
Places = dict[str, tuple[Rule, list[str | None]]]


@dataclass(frozen=True)
class Adapter:
    """Content of a folder: what is added to the weights of modules, and what replaces parameters.

    Attributes:
      title: path of the folder.
      pairs: A `(r, I)` and B `(O, r)` by module; B holds the factor of the product.
      whole: parameters that were trained whole, by key.
    """

    title: str
    pairs: Mapping[str, Pair]
    whole: Mapping[str, np.ndarray]


def read_adapter(folder: str | os.PathLike) -> Adapter:
    """Read a folder that peft's `save_pretrained` wrote.

    Raises:
      CheckpointError: if the folder lacks a file, holds other adapters than low-rank pairs, or a half of a pair.
    """
    folder = Path(folder).expanduser()
    config = read_object(folder / CONFIG)
    file = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if not config or file is None:
        raise CheckpointError(
            f"{folder}: holds no low-rank pairs; expected {CONFIG} beside {WEIGHTS[0]}, as peft's save_pretrained "
            "writes them"
        )
    _check_kind(config, folder / CONFIG)
    arrays = {key: np.asarray(array, np.float32) for key, array in read_state_dict(file, prefixes=(_ROOT,)).items()}
    modules = {key.removesuffix(end): None for end in _PAIR for key in arrays if key.endswith(end)}
    pairs = {}
    for module in modules:
        halves = [arrays.pop(f"{module}{end}", None) for end in _PAIR]
        first, second = halves
        if first is None or second is None or first.ndim != 2 != second.ndim or first.shape[0] != second.shape[-1]:
            shapes = " and ".join("nothing" if half is None else dims(half.shape) for half in halves)
            raise CheckpointError(f"{file}: {module} has {shapes} as A and B, which should be r×I and O×r of one layer")
        pairs[module] = first, second * np.float32(_factor(config, module, len(first), folder / CONFIG))
    if odd := [key for key in arrays if re.search(r"\.(lora_|base_layer\.|modules_to_save\.)", key)]:
        raise CheckpointError(
            f"{file}: only pairs beside linear layers can be read, and parameters trained whole, not\n"
            + "\n".join(listed([f"  {key} ({dims(arrays[key].shape)})" for key in odd]))
        )
    start = len(common_start([*pairs, *arrays]))
    return Adapter(
        str(folder), {key[start:]: pair for key, pair in pairs.items()}, {key[start:]: a for key, a in arrays.items()}
    )


def load_adapter(model: VideoNetwork, folder: str | os.PathLike, *, name: str, source: str | None = None) -> None:
    """Add published low-rank pairs to a network, in place.

    A network without pairs of its own takes the products into its kernels. One with pairs, as `config.model.lora_rank`
    makes them, takes them as its own, to go on with their training; a smaller rank is filled up with zeros.

    Args:
      model: the network, with the weights that the pairs were trained beside.
      folder: folder that peft's `save_pretrained` wrote.
      name: name of the network.
      source: naming scheme of the file, one of the spec's `sources`; None: recognised by its keys.

    Raises:
      CheckpointError: if the folder cannot be read, or does not fit the network; the message names the modules.
    """
    adapter = read_adapter(folder)
    _, params, stats = split(model)
    plain = without_pairs({**params, **stats})
    changes, pairs = _mapped(adapter, plain, name, source, dict(model.conventions))
    if model.low_rank_scale:
        changes |= _as_own(adapter.title, pairs, params, model.low_rank_scale)
    else:
        for path, (first, second) in pairs.items():
            changes[path] = np.asarray(plain[path], np.float32) + first @ second
    assign(model, {path: like({**params, **stats}[path], np.asarray(array)) for path, array in changes.items()})


def write_adapter(folder: str | Path, model: VideoNetwork, *, name: str, to: str, base: str = "") -> int:
    """Write a network's low-rank pairs, and the parts that are trained whole beside them, as peft's `from_pretrained`
    reads them.

    Args:
      folder: path of a new or empty folder.
      model: the network, with pairs.
      name: name of the network.
      to: naming scheme, one of `vidjax.weights.write.writable(name)`.
      base: name or folder of the network beside whose weights the pairs were trained; empty: unknown.

    Returns:
      Number of pairs.

    Raises:
      CheckpointError: if the folder is not empty, the network has no pairs, or the framework has no such network or no
        modules for them.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise CheckpointError(f"{folder}: is not empty; give a new folder")
    if not model.low_rank_scale:
        raise CheckpointError(f"{name} has no low-rank pairs to write; train with --config.model.lora_rank")
    _, params, stats = split(model)
    plain, frozen = without_pairs({**params, **stats}), frozen_paths(model)
    table, filled = table_of(model, plain, name, to)
    content, ranks, odd = {}, set(), []
    for path, (rule, keys) in filled.items():
        place = path.removesuffix(".kernel")
        first, second = (params.get(f"{place}.{half}") for half in LOW_RANK)
        if path.endswith(".kernel") and first is not None and second is not None:
            parts = rule.transform.inverse(np.asarray(second, np.float32))
            odd += [key for key in keys if not key.endswith(".weight") or table.stacked]
            ranks.add(first.shape[-1])
            for key, part in zip(keys, parts, strict=True):
                module = prefixed(key, to).removesuffix(".weight")
                content |= {f"{module}{_PAIR[0]}": np.asarray(first, np.float32).T, f"{module}{_PAIR[1]}": part}
        elif path not in frozen:
            odd += [key for key in keys if not key.endswith((".weight", ".bias", ".running_mean", ".running_var"))]
            parts = rule.transform.inverse(np.asarray(plain[path]))
            content |= dict(zip((prefixed(key, to) for key in keys), parts, strict=True))
    if odd or len(ranks) != 1:
        what = ", ".join(listed(odd, 3)) or f"pairs of ranks {sorted(ranks)}"
        raise CheckpointError(f"{name} as {to}: there are no modules with one kind of low-rank pairs for {what}")
    rank = ranks.pop()
    modules = sorted(key.removesuffix(_PAIR[0]) for key in content if key.endswith(_PAIR[0]))
    whole = sorted({key.rpartition(".")[0] for key in content if not key.endswith(_PAIR)})
    alpha = float(model.low_rank_scale * rank)
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base or None,
        "r": rank,
        "lora_alpha": int(alpha) if alpha.is_integer() else alpha,
        "lora_dropout": 0.0,
        "target_modules": modules,
        "modules_to_save": whole or None,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "inference_mode": True,
    }
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    arrays = {f"{_ROOT}{key}": np.array(array, order="C") for key, array in content.items()}
    save_file(arrays, folder / WEIGHTS[0], metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return len(modules)


def _check_kind(config: Mapping[str, Any], file: Path) -> None:
    """Refuse adapters whose pairs mean something else than a product that is added."""
    if config.get("peft_type") != "LORA":
        raise CheckpointError(f"{file}: peft_type = {config.get('peft_type')!r}: only LORA can be read")
    other = [field for field in _OTHER_SUMS if config.get(field)]
    if config.get("init_lora_weights") not in _PLAIN_STARTS:
        other.append("init_lora_weights")
    if other:
        told = ", ".join(f"{field} = {config[field]!r}" for field in other)
        raise CheckpointError(
            f"{file}: {told}: such pairs are more than a product that is added. Merge them with peft "
            "(merge_and_unload) and convert the whole network."
        )


def _factor(config: Mapping[str, Any], module: str, rank: int, file: Path) -> float:
    """Factor of a module's product: α / r or α / √r, with the module's own α if there is a pattern for it."""
    alpha = config.get("lora_alpha", 8)
    for pattern, own in (config.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            alpha = own
            break
    if not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise CheckpointError(f"{file}: lora_alpha = {alpha!r}: must be a number")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _mapped(
    adapter: Adapter, current: Arrays, name: str, source: str | None, conventions: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, Pair]]:
    """Parameters that are replaced, and pairs `(I, r)`, `(r, O)` beside kernels, by path.

    Args:
      adapter: content of the folder.
      current: the network's parameters and statistics by path.
      name, source: as for `load_adapter`.
      conventions: those of the network.
    """
    keys = [*(f"{module}.weight" for module in adapter.pairs), *adapter.whole]
    places: Places = {}
    lacking = keys
    for table in sources():
        if not table.serves(name) or source not in (None, table.name) or table.differs(conventions) or table.stacked:
            continue
        found, left = _places(table, keys, current)
        if not places or len(left) < len(lacking):
            places, lacking = found, left
    if lacking:
        raise CheckpointError(
            f"{adapter.title} into {name}: {len(lacking)} of its {len(keys)} modules and parameters have no place "
            "there:\n" + "\n".join(listed([f"  {key}" for key in lacking]))
        )
    changes, pairs, problems = {}, {}, []
    for path, (rule, slots) in places.items():
        halves = [adapter.pairs.get((key or "").removesuffix(".weight")) for key in slots]
        try:
            if any(key in adapter.whole for key in slots):
                own = rule.transform.inverse(np.asarray(current[path]))
                parts = [adapter.whole.get(key or "", part) for key, part in zip(slots, own, strict=True)]
                changes[path] = _need_shape(rule.transform.forward(*parts), current[path].shape)
            if any(halves):
                pairs[path] = _joint(rule, halves, path, current[path].shape)
        except ValueError as error:
            problems.append(f"  {path}, from {', '.join(key for key in slots if key)}: {error}")
    if problems:
        raise CheckpointError(f"{adapter.title} does not fit {name}:\n" + "\n".join(listed(problems)))
    return changes, pairs


def _places(table: Source, keys: list[str], current: Arrays) -> tuple[Places, list[str]]:
    """Rule and keys of the parameters that keys belong to, by path, None for keys that are not there; and the keys that
    belong to none."""
    places: Places = {}
    left = []
    for short, key in table.stripped(keys).items():
        if any(fnmatch.fnmatchcase(short, pattern) for pattern in table.ignore):
            continue
        for rule in table.rules:
            if (values := rule.match(short)) is not None:
                needed, path = rule.fill(values)
                break
        else:
            left.append(key)
            continue
        if path not in current:
            left.append(key)
            continue
        empty: list[str | None] = [None] * len(needed)
        _, slots = places.setdefault(path, (rule, empty))
        slots[needed.index(short)] = key
    return places, left


def _joint(rule: Rule, halves: list[Pair | None], path: str, shape: tuple[int, ...]) -> Pair:
    """One pair beside a kernel `(I, O)`, from those of the arrays that make it: `(I, r)` and `(r, O)`.

    If all have the same A, r is theirs; else the parts lie beside each other, and r is the sum of theirs.
    """
    if len(shape) != 2 or not path.endswith(".kernel"):
        raise ValueError("it is not the kernel of a linear layer")
    outputs = [len(part) for part in rule.transform.inverse(np.broadcast_to(np.float32(0), shape))]
    firsts = [half[0] for half in halves if half is not None]
    same = len(firsts) == len(halves) and all(np.array_equal(first, firsts[0]) for first in firsts)
    first = firsts[0] if same else np.concatenate(firsts)
    seconds, start = [], 0
    for half, count in zip(halves, outputs, strict=True):
        second = np.zeros((count, len(first)), np.float32)
        if half is not None:
            width = half[1].shape[1]
            second[:, start : start + width] = _need_shape(half[1], (count, width))
            start += 0 if same else width
        seconds.append(second)
    _need_shape(first, (len(first), shape[0]))
    return LINEAR.forward(first), _need_shape(rule.transform.forward(*seconds), (len(first), shape[1]))


def _need_shape(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if array.shape != tuple(shape):
        raise ValueError(f"its shape is {dims(array.shape)}, where {dims(shape)} is wanted")
    return array


def _as_own(title: str, pairs: Mapping[str, Pair], params: Arrays, scale: float) -> dict[str, np.ndarray]:
    """Parameters by path of a network with pairs of its own, which become those of a file."""
    changes, problems = {}, []
    for path, (first, second) in pairs.items():
        names = [f"{path.removesuffix('.kernel')}.{half}" for half in LOW_RANK]
        if names[0] not in params:
            problems.append(f"  {path} has no pair here: leave config.model.lora_layers empty, or name the layer there")
            continue
        rank, room = first.shape[1], params[names[0]].shape[1]
        if rank > room:
            problems.append(f"  {path} needs config.model.lora_rank={rank} or more, not {room}")
            continue
        changes[names[0]] = np.array(params[names[0]], np.float32)
        changes[names[0]][:, :rank] = first
        changes[names[1]] = np.pad(second / np.float32(scale), ((0, room - rank), (0, 0)))
    if problems:
        raise CheckpointError(f"{title} does not fit the network's low-rank pairs:\n" + "\n".join(listed(problems)))
    return changes
