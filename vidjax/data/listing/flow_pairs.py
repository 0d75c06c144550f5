"""Pairs of pictures with true flow, in the folders of the benchmarks: MPI Sintel, KITTI and FlyingChairs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vidjax.data.listing.rows import LISTED, Row
from vidjax.data.records import TrueFlow
from vidjax.data.text import DataError
from vidjax.errors import UserError


@dataclass(frozen=True)
class FlowPair:
    """Two pictures that follow each other, and the file of the flow between them.

    Attributes:
      first: path of the first picture.
      second: path of the second one.
      true: path of the file of true flow.
      group: part of the benchmark that has figures of its own, such as Sintel's "clean"; empty: it has none.
      scene: name shared by pairs of one scene; empty: each pair has its own.
      split: "train" or "val", if the benchmark has a split; empty: it has none.
    """

    first: Path
    second: Path
    true: Path
    group: str = ""
    scene: str = ""
    split: str = ""


@dataclass(frozen=True)
class FlowFolder:
    """Source of pairs of pictures with true flow: the folder of a benchmark, in a layout that is found by looking.

    Attributes:
      name: name as given in the setting.
      path: path of the folder.
    """

    name: str
    path: str
    kinds = frozenset({TrueFlow.kind})
    labels = None
    splits = LISTED

    def rows(self) -> list[Row]:
        """List the pairs; see `Source`. Those of FlyingChairs have its split, where its file is there.

        Raises:
          DataError: if the folder is in none of the layouts, or a picture is absent.
        """
        try:
            pairs = _pairs(self.path, _layout(Path(self.path)))
        except UserError as error:
            raise DataError(str(error)) from None
        return [
            Row(str(pair.first), str(pair.true), TrueFlow(str(pair.second), str(pair.true)), pair.split, pair.scene,
                missing=False)
            for pair in pairs
        ]  # fmt: skip


def flow_pairs(folder: str | Path, layout: str) -> list[FlowPair]:
    """List the pairs of a benchmark that have true flow, in the order of their names.

    Layouts:
      sintel: `training/clean/SCENE/frame_0001.png`, the same for `final`, and `training/flow/SCENE/frame_0001.flo`.
      kitti: `training/image_2/000000_10.png` and `…_11.png` (KITTI 2012: `colored_0` or `image_0`), and
        `training/flow_occ/000000_10.png`.
      chairs: `data/00001_img1.ppm`, `…_img2.ppm` and `…_flow.flo`; with `chairs_split.txt` or
        `FlyingChairs_train_val.txt` beside `data`, which has 1 (training) or 2 a line, only pairs of 2.

    Args:
      folder: folder of the benchmark.
      layout: "sintel", "kitti" or "chairs".

    Raises:
      UserError: if a folder or picture is absent, or there is no pair; it names the path and what was expected.
    """
    return [pair for pair in _pairs(folder, layout) if pair.split != "train"]


def _pairs(folder: str | Path, layout: str) -> list[FlowPair]:
    if layout not in LAYOUTS:
        raise UserError(f"--layout {layout}: must be one of {', '.join(LAYOUTS)}")
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"{folder}: is no folder; expected the folder of {layout}")
    pairs = LAYOUTS[layout](root)
    if not pairs:
        raise UserError(f"{folder}: has no file of true flow as {layout} names them; is it the right layout?")
    for pair in pairs:
        for path in (pair.first, pair.second):
            if not path.is_file():
                raise UserError(f"{path}: no such picture, but there is its flow {pair.true}")
    return pairs


def _layout(root: Path) -> str:
    """Layout of a folder, by what is in it.

    Raises:
      UserError: if it is none of them.
    """
    parts = _training(root)
    if (parts / "flow_occ").is_dir():
        return "kitti"
    if (parts / "flow").is_dir():
        return "sintel"
    if next(_data(root).glob("*_flow.flo"), None) is not None:
        return "chairs"
    raise UserError(
        f"{root}: no true flow found; expected the folder of a benchmark: Sintel (training/flow), KITTI "
        "(training/flow_occ) or FlyingChairs (data/00001_flow.flo)"
    )


def _training(root: Path) -> Path:
    return root / "training" if (root / "training").is_dir() else root


def _sintel(root: Path) -> list[FlowPair]:
    root = _training(root)
    passes = [name for name in ("clean", "final") if (root / name).is_dir()]
    if not passes or not (root / "flow").is_dir():
        raise UserError(f"{root}: expected Sintel's folders clean, final and flow")
    pairs = []
    for group in passes:
        for true in sorted((root / "flow").glob("*/frame_*.flo")):
            digits = true.stem.removeprefix("frame_")
            if not digits.isdigit():
                raise UserError(f"{true}: expected a name such as frame_0001.flo")
            following = f"frame_{int(digits) + 1:0{len(digits)}d}.png"
            scene = root / group / true.parent.name
            pairs.append(FlowPair(scene / f"{true.stem}.png", scene / following, true, group, true.parent.name))
    return pairs


def _kitti(root: Path) -> list[FlowPair]:
    root = _training(root)
    colours = [root / name for name in ("image_2", "colored_0", "image_0") if (root / name).is_dir()]
    if not colours or not (root / "flow_occ").is_dir():
        raise UserError(f"{root}: expected KITTI's folders image_2 (2012: colored_0 or image_0) and flow_occ")
    return [
        FlowPair(colours[0] / true.name, colours[0] / f"{true.name[: -len('10.png')]}11.png", true)
        for true in sorted((root / "flow_occ").glob("*_10.png"))
    ]


def _data(root: Path) -> Path:
    return root / "data" if (root / "data").is_dir() else root


def _chairs(root: Path) -> list[FlowPair]:
    data = _data(root)
    flows = sorted(data.glob("*_flow.flo"))
    names = ("chairs_split.txt", "FlyingChairs_train_val.txt")
    parts = [""] * len(flows)
    if split := next((root / name for name in names if (root / name).is_file()), None):
        parts = split.read_text().split()
        if len(parts) != len(flows) or not set(parts) <= {"1", "2"}:
            raise UserError(
                f"{split}: has {len(parts)} entries; expected 1 or 2 for each of {len(flows)} pairs in {data}"
            )
    pairs = []
    for true, part in zip(flows, parts, strict=True):
        stem = true.name.removesuffix("_flow.flo")
        first, second = data / f"{stem}_img1.ppm", data / f"{stem}_img2.ppm"
        pairs.append(FlowPair(first, second, true, split={"1": "train", "2": "val"}.get(part, "")))
    return pairs


LAYOUTS: dict[str, Callable[[Path], list[FlowPair]]] = {"sintel": _sintel, "kitti": _kitti, "chairs": _chairs}
