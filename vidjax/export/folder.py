"""Folders of exported networks: what they hold, and how they are written as a whole or not at all.

    export.json        what is needed to use the programs: inputs, outputs, config, spec, classes, temperature
    classes.txt        class names, one a line, in the order of the scores
    model.onnx         an ONNX graph, with model.onnx.data beside it if it is large
    cpu.stablehlo …    a program per platform, as `jax.export` serialises it, and
    weights.safetensors  its first argument

Without vidjax, a StableHLO program runs as

    exported = jax.export.deserialize(Path("cpu.stablehlo").read_bytes())
    answers = exported.call(safetensors.numpy.load_file("weights.safetensors"), {"video": clips})

where clips are uint8 `(B, T, H, W, 3)`.
"""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vidjax.errors import UserError
from vidjax.export.program import TrainedNetwork
from vidjax.training.checkpoints import Meta

INFO = "export.json"
CLASSES = "classes.txt"
ONNX = "model.onnx"
WEIGHTS = "weights.safetensors"
FORMAT = 1  # version of `export.json`

FORMATS = ("stablehlo", "onnx")
RUNTIMES = ("onnxruntime", "tensorrt", "openvino")  # that ONNX files are made for
PLATFORMS = {"cpu": "cpu", "cuda": "gpu", "tpu": "tpu"}  # of JAX → backend that formulations are chosen for

Shapes = Mapping[str, tuple[tuple[int, ...], str]]


@dataclass(frozen=True)
class ExportInfo:
    """Description of an exported network, kept in `export.json`.

    Attributes:
      kind: format of its programs, one of `FORMATS`.
      target: runtime of an ONNX file, one of `RUNTIMES`, or the platforms of StableHLO, comma-separated.
      step: update of the checkpoint.
      inputs: shape of one clip of each input as read, and its type, by name.
      outputs: shape of the answer about one clip, and its type, by name.
      meta: config, spec and classes, as in a checkpoint.
      temperature: temperature of the probabilities, which they have already.
      thresholds: thresholds of classes of which a video may have several; None: there are none.
      parity: relative error to the network in JAX, by number of clips.
      int8: what was quantised and how, from `vidjax quantize`; None: everything is float.
    """

    kind: str
    target: str
    step: int
    inputs: Shapes
    outputs: Shapes
    meta: Meta
    temperature: float = 1.0
    thresholds: tuple[float, ...] | None = None
    parity: Mapping[str, float] | None = None
    int8: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, trained: TrainedNetwork, kind: str, target: str) -> "ExportInfo":
        """Describe a trained network in a format."""
        inputs = {name: (tuple(field.shape), field.dtype) for name, field in trained.fields.items()}
        return cls(
            kind, target, trained.step, inputs, trained.outputs(), trained.meta, trained.temperature, trained.thresholds
        )

    @property
    def platforms(self) -> tuple[str, ...]:
        """Platforms of StableHLO programs."""
        return tuple(self.target.split(","))

    def write(self, folder: Path) -> None:
        """Write `export.json` and `classes.txt` to a folder."""
        values = asdict(replace(self, meta=None)) | {"meta": self.meta.to_dict()}  # pyrefly: ignore[bad-argument-type]
        text = json.dumps({"format": FORMAT, **values}, indent=2)
        (folder / INFO).write_text(text + "\n", encoding="utf-8")
        if names := self.meta.labels.names:
            (folder / CLASSES).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def read_info(folder: str | Path) -> ExportInfo | None:
    """Read the description of an exported network; None: the folder holds none.

    Raises:
      UserError: if it is damaged, or a newer version wrote it.
    """
    path = Path(folder) / INFO
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        number = values.pop("format")
        if number > FORMAT:
            raise UserError(f"{path} has format {number}, and this version of vidjax reads up to {FORMAT}: update it")
        shapes = {part: {n: (tuple(s), t) for n, (s, t) in values[part].items()} for part in ("inputs", "outputs")}
        thresholds = None if values["thresholds"] is None else tuple(values["thresholds"])
        meta = Meta.from_dict(values["meta"])
        return ExportInfo(**values | shapes | {"thresholds": thresholds, "meta": meta})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UserError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}); export the run again") from None


@contextlib.contextmanager
def new_folder(out: str | Path) -> Generator[Path, None, None]:
    """Context with a new folder beside `out` that becomes it at the end, and disappears after an error.

    Raises:
      UserError: if there is something at `out`.
    """
    place = Path(out).expanduser().absolute()
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise UserError(f"{out} is there already; choose another folder or remove it")
    place.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        half.chmod(0o755)  # temporary folders are their owner's alone
        yield half
        half.replace(place)
    finally:
        shutil.rmtree(half, ignore_errors=True)
