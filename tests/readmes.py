"""Commands and snippets of the READMEs, and the files that their texts speak of."""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.golden import fill_state, read_keys
from tests.videos import write_video
from vidjax.data.listing.class_lists import read_class_names
from vidjax.data.synthetic import write_motion

ROOT = Path(__file__).parents[1]
READMES = (
    "README.md", "configs/README.md", "vidjax/weights/README.md", "tests/benchmarks/README.md", "docs/production.md",
    "docs/words.md",
)  # fmt: skip
PYTHON = ("python", ".venv/bin/python")  # what a reader calls the interpreter


@dataclass(frozen=True)
class Command:
    """One command of a ```bash block, without its comment; `words` as a shell splits it, variables set before it left
    out."""

    text: str

    @property
    def words(self) -> list[str]:
        words = shlex.split(self.text)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        return words


def fences(readme: str) -> list[tuple[str, str]]:
    """Language and content of each fenced block, in order."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / readme).read_text(), re.MULTILINE | re.DOTALL)


def commands(readme: str) -> list[Command]:
    """Those of all ```bash blocks, in order; what `&&` joins are several."""
    found = []
    for language, block in fences(readme):
        if language != "bash":
            continue
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r"(^|\s)#.*", "", line)
            found += [Command(" ".join(part.split())) for part in line.split("&&") if part.strip()]
    return found


def python_blocks(readme: str) -> list[str]:
    return [block for language, block in fences(readme) if language == "python"]


def inline_commands(readme: str) -> list[Command]:
    """Those in the running text and in tables, without `…` and with something in the place of what stands for it."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / readme).read_text(), flags=re.MULTILINE | re.DOTALL)
    spans = (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text))
    stand_ins = {"configs/NAME.py": "configs/folder.py", "SLICE": "v5e:2x4"}
    found = []
    for span in spans:
        if re.match(r"([A-Z_]+=\S* )?python ", span):
            for name, value in stand_ins.items():
                span = span.replace(name, value)
            found.append(Command(re.sub(r"\S*…\S*", "", span)))
    return found


def copy_repository(folder: Path) -> None:
    """What git tracks, as it lies here, and `python` and `.venv/bin/python`, both the interpreter of the tests."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # not removed since
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
            (folder / name).chmod((ROOT / name).stat().st_mode)
    for name in ("bin/python", ".venv/bin/python"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (folder / name).chmod(0o755)


def write_material(folder: Path) -> None:
    """The videos, lists and checkpoints that the READMEs name; checkpoints have the published keys and shapes."""
    rng = np.random.default_rng(0)
    names = read_class_names("kinetics400")

    def video(path: Path) -> None:
        pixels = rng.integers(0, 256, (1, 6, 8, 3)) + 6 * np.arange(40)[:, None, None, None]
        write_video(path, np.kron(pixels % 256, np.ones((1, 12, 12, 1), int)).astype(np.uint8))

    video(folder / "some.mp4")
    video(folder / "other.mp4")
    rows = []
    for name in names[:2]:
        for i in range(6):
            video(folder / "videos" / name / f"{i}.mp4")
            rows.append(f"videos/{name}/{i}.mp4,{name}\n")
    (folder / "train.csv").write_text("path,label\n" + "".join(row for i, row in enumerate(rows) if i % 6 < 4))
    (folder / "val.csv").write_text("path,label\n" + "".join(row for i, row in enumerate(rows) if i % 6 >= 4))
    (folder / "kinetics400.txt").write_text("".join(f"{name}\n" for name in names))
    write_motion(folder / "runs" / "data" / "motion", num_train=12, num_eval=6)
    write_checkpoints(folder)


def write_checkpoints(folder: Path) -> None:
    import torch
    from safetensors.numpy import save_file

    published = {"r2plus1d_18-91a641e6.pth": "torchvision_r2plus1d_18", "resnet50.pth": "torchvision2d_resnet50"}
    for file, table in published.items():
        state = fill_state(read_keys(table))
        torch.save({key: torch.from_numpy(np.array(value)) for key, value in state.items()}, folder / file)
    state = fill_state(read_keys("hf5_videomae_base_cls"))
    labels = {str(i): f"deed {i}" for i in range(len(state["classifier.bias"]))}
    (folder / "videomae").mkdir()
    save_file(state, folder / "videomae" / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": "videomae", "num_frames": 16, "image_size": 224, "id2label": labels}
    (folder / "videomae" / "config.json").write_text(json.dumps(config))
    pixels = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}
    (folder / "videomae" / "preprocessor_config.json").write_text(json.dumps(pixels))
