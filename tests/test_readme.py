"""Every command and snippet of the READMEs: that it can be parsed, and that it works as written, one after the other.

`RUN`, `PARSED` and `CI` sort the commands. A new command that none of them has fails here until it is sorted.
"""

import argparse
import ast
import importlib
import os
import re
import subprocess
import sys

import pytest

from tests.peers import needs
from tests.readmes import (
    PYTHON,
    READMES,
    ROOT,
    commands,
    copy_repository,
    fences,
    inline_commands,
    python_blocks,
    write_material,
)
from vidjax.__main__ import _parser
from vidjax.apps import evaluate_command, train_command
from vidjax.config import Config, field_names, split_arguments
from vidjax.config.files import read_config
from vidjax.config.validate import validate
from vidjax.models import list_models

# What makes a training short, and what makes the clips of full-size networks small.
BRIEF = "--config.train.steps=2 --config.train.batch_size=4"
SMALL = (
    "--config.data.clip.num_frames=8 --config.data.clip.size=56 --config.data.clip.resize='(64,)' "
    "--config.eval.batch_size=2"
)

# Commands that run here → what is added to make them short, and what they must leave behind.
RUN = {
    r"\.venv/bin/python train.py --config=configs/motion.py --workdir=runs/motion": (
        f"{BRIEF} --config.data.synthetic=",  # fewer videos are there already
        "runs/motion/eval.json",
    ),
    r"python train.py .*--workdir=runs/mine .*": (BRIEF, "runs/mine/{metrics.jsonl,confusion.png,video_scores.csv}"),
    r"python train.py .*--workdir=runs/listed .*": (BRIEF, "runs/listed/eval.json"),
    r"python -m vidjax check train.csv --config=.*": ("", "check.csv"),
    r"python -m vidjax inspect train.csv .*": ("", "inspect/*"),
    r"python -m vidjax bench data .*": ("--seconds 1", ""),
    r"python -m vidjax prepare train.csv data/mine .*": ("", "data/mine/*"),
    r"python -m vidjax convert r2plus1d_18 .*": ("", "runs/k400"),
    r"python -m vidjax convert --to torchvision runs/k400 k400.pth": ("", "k400.pth"),
    r"python -m vidjax convert videomae_base videomae/ runs/mae": ("", "runs/mae"),
    r"python -m vidjax convert --to transformers runs/mae mae/": ("", "mae/{config.json,model.safetensors}"),
    r"python train.py .*--workdir=runs/tuned .*": (f"{BRIEF} {SMALL}", "runs/tuned/eval.json"),
    r"python train.py .*--workdir=runs/inflated .*": ("--dry_run", ""),  # a second full-size network to compile
    r"python eval.py --workdir=runs/motion .*": ("", "runs/motion/eval_10x3/eval.json"),
    r"python eval.py --checkpoint=runs/k400 .*": (SMALL, "runs/k400/eval*/eval.json"),
    r"python -m vidjax predict runs/motion some.mp4 other.mp4": ("", ""),
    r"python -m vidjax explain runs/motion some.mp4 .*": ("--num-clips 1", "why/*"),
    r"python -m vidjax calibrate runs/motion": ("", "runs/motion/{calibration.json,reliability.png}"),
    r"python train.py .*--workdir=runs/small .*": (f"{BRIEF} --config.data.synthetic=", "runs/small/eval.json"),
    r"python -m vidjax prune runs/motion narrow .*": ("", "narrow/*"),
    r"python train.py .*--workdir=runs/narrow .*": (f"{BRIEF} --config.data.synthetic=", "runs/narrow/eval.json"),
    r"python -m vidjax cascade runs/small runs/motion .*": ("", "runs/both/cascade.{json,png}"),
    r"python -m vidjax export runs/motion motion-onnx .*": ("", "motion-onnx/model.onnx"),
    r"python -m vidjax quantize motion-onnx motion-int8": ("--clips 8", "motion-int8/quantize.json"),
    r"python -m vidjax predict motion-int8 some.mp4": ("", ""),
    r"python -m vidjax predict-many runs/motion videos/ .*": ("--num-clips 1", "predictions/_plan.json"),
    r"python train.py .*--workdir=runs/flow .*": (f"{BRIEF} --config.data.synthetic=", "runs/flow/eval.json"),
    r"python -m vidjax flow some.mp4 flow.mp4": ("", "flow.mp4"),
    r"python -m vidjax localise runs/motion some.mp4 .*": ("", "found/*"),
    r"python -m vidjax embed runs/motion .*": ("--num-clips 2", "vectors/*"),
    r"python -m vidjax search vectors some.mp4": ("", "search/*"),
    r"python -m vidjax plan --config=configs/k400_i3d_r50.py .*": (
        "--config.model.name=single_frame_tiny --config.model.init_from= --config.data.clip.num_frames=1 "
        "--config.data.clip.size=32",
        "",
    ),
    r"python train.py --config=configs/motion.py --workdir=runs/x .*": (f"{BRIEF} --config.data.synthetic=", "runs/x"),
    r"python -m tests.benchmarks.data.decoding": ("--repeats 1 --peers", ""),
    r"python -m tests.benchmarks.attention .*": ("--repeats 1", ""),
    r"python -m tests.benchmarks.search .*": ("--count 2000 --width 16 --graph 500", ""),
    r"python -m tests.benchmarks.pretraining": ("--size tiny --repeats 1", ""),
    r'python -m tests.benchmarks.blocks --remat ""': ("--model videomae_tiny", ""),
}

# Commands that are only parsed here → why.
PARSED = {
    r"python train.py --config=configs/motion_people.py .*": "tests/apps/test_detect_people.py trains a small one",
    r"python -m vidjax detect runs/people .*": "needs that run",
    r"python (train.py .*--workdir=|-m vidjax (cascade|predict) )runs/exit.*": "tests/test_cascade.py has small ones",
    r"python (eval.py|-m vidjax (convert|predict|embed)) .*(runs/clip|runs/openai).*": "needs CLIP's weights",
    r"python -m vidjax search index .*": "needs CLIP's weights",
    r"python train.py --config=configs/scenes_\w+.py .*": "tests/tasks train small ones",
    r"python -m vidjax (caption|ask) .*": "needs a run; tests/apps/test_caption.py has a small one",
    r"python -m vidjax convert smolvlm2_256m .*": "needs its weights",
    r"python -m vidjax convert --to smolvlm2 runs/lora .*": "needs it; tests/weights/test_low_rank.py has one",
    r"python -m vidjax serve .*": "runs until it is stopped; tests/apps/test_serve.py starts one",
    r"python -m vidjax demo .*": "runs until it is stopped; tests/apps/test_demo.py starts one",
    r"python -m vidjax stream .*": "needs a causal run and a camera; tests/apps/test_stream.py has a file",
    r"sbatch .*": "needs SLURM; tests/test_launch.py runs the script without",
    r"configs/launch/tpu.sh .*": "needs gcloud and a TPU slice; tests/test_launch.py runs the script without",
    r"kubectl apply -f configs/launch/jobset.yaml": "needs a cluster; tests/test_launch.py runs the pods' command",
    r"python -m tests.benchmarks.data.loading": "measures against decord, which the tests do without",
    r"python -m tests.benchmarks.data.(views|prepared|sound|flow)": "fails where its ratio is missed",
    r"python -m tests.benchmarks.(predict_many|serving) --out .*": "minutes; tests/apps has small ones",
    r"python -m tests.benchmarks.scorers --official .*": "needs ActivityNet's code",
    r"python -m tests.benchmarks.(text_video|answers).*": "full-size networks against transformers'; minutes",
    r"python -m tests.benchmarks.features .*": "minutes; fails where its ratio is missed",
    r"python -m tests.benchmarks.models .*": "full-size networks against PyTorch's; minutes each",
    r"python -m tests.benchmarks.blocks --topology .*": "the TPU's compiler takes minutes",
    r"JAX_PLATFORMS=cpu python -m tests.benchmarks.checkpointing .*": "fails where its ratio is missed",
}

# Commands that are the first steps of CI.
CI = (
    r"python3 -m venv \.venv",
    r"\.venv/bin/pip install -e (\.|'\.\[test\]')",
    r"\.venv/bin/python -m pytest -n 2",
)

# What the comments in a README's snippets say, after they have run.
CLAIMS = {
    "README.md": """
import json, pathlib, torch
assert frames.shape == (16, 72, 96, 3) and frames.dtype == "uint8" and video.shape == (1, 16, 112, 112, 3)
assert logits.shape == (1, 10) and features.shape == (1, 512)
assert vidjax.create_model("r2plus1d_tiny", num_classes=0)(video).shape[0] == 1
classes = predictor("some.mp4").classes
assert len(classes) == 5 and classes == tuple(sorted(classes, key=lambda c: -c.score))
assert predictor("some.mp4").clips[0].end > 0
rows = predictor.features(["some.mp4", "other.mp4"])
assert rows.ndim == 2 and len(rows) == 2
whole = json.loads(pathlib.Path("runs/motion/eval.json").read_text())
assert {"clip", "video", "coverage", "num_videos", "num_views", "per_class", "unreadable"} <= whole.keys()
assert {"model", "step", "checkpoint", "views", "data"} <= whole.keys() and {"top1", "top5"} <= whole["video"].keys()
assert "top5" not in json.loads(pathlib.Path("runs/mine/eval.json").read_text())["video"]
assert vidjax.load_pretrained("i3d_r50", "resnet50.pth", num_classes=2).head.out_features == 2
there, back = torch.load("r2plus1d_18-91a641e6.pth"), torch.load("k400.pth")
kept = [key for key in there if not key.endswith("num_batches_tracked")]
assert set(kept) <= back.keys() <= there.keys() and all(torch.equal(there[key], back[key]) for key in kept)
labels = [json.loads(pathlib.Path(f, "config.json").read_text())["id2label"] for f in ("videomae", "mae")]
pixels = [json.loads(pathlib.Path(f, "preprocessor_config.json").read_text()) for f in ("videomae", "mae")]
assert labels[0] == labels[1] and all(pixels[0][k] == pixels[1][k] for k in ("image_mean", "image_std"))
""",
    "vidjax/weights/README.md": """
assert model(__import__("numpy").zeros((1, 4, 32, 32, 3), "float32")).shape == (1, 12)
assert SOURCES[0].name == "foo"
""",
}

ALL = [pytest.param(command, id=f"{readme}: {command.text[:60]}") for readme in READMES for command in commands(readme)]


def classes_of(text):
    return [pattern for pattern in (*RUN, *PARSED, *CI) if re.fullmatch(pattern, text)]


class _Parsed(Exception):
    """A benchmark has parsed its arguments and would now measure."""


def parse(words, monkeypatch):
    """Fail where a flag, a setting, its value or the experiment is not known."""
    monkeypatch.chdir(ROOT)
    if words[0] in ("sbatch", "configs/launch/tpu.sh"):
        first = next(i for i, word in enumerate(words) if word.startswith("--config="))
        words = ["python", "train.py", *words[first:]]
    if words[0] not in PYTHON:
        files = [word for word in words if word.startswith("configs/")]
        assert files and all((ROOT / file).is_file() for file in files)
    elif words[1] in ("train.py", "eval.py"):
        command = {"train.py": train_command, "eval.py": evaluate_command}[words[1]]
        settings, others = split_arguments(words[2:])
        command.parser(words[1]).parse_args(others)
        validate(read_config(settings))
    elif words[1:3] == ["-m", "vidjax"]:
        args, settings = _parser().parse_known_args(words[3:])
        assert all(word.startswith("--config.") for word in settings), settings
        if getattr(args, "config", None):
            settings = [f"--config={args.config}", *settings]
        validate(read_config(settings))
    else:
        assert words[1] == "-m" and words[2].startswith("tests.benchmarks."), words
        module = importlib.import_module(words[2])
        real = argparse.ArgumentParser.parse_args

        def parse_args(self):
            real(self, words[3:])
            raise _Parsed

        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        with pytest.raises(_Parsed):
            module.main()


@pytest.mark.parametrize("command", ALL)
def test_every_command_is_of_one_class_and_can_be_parsed(command, monkeypatch):
    (pattern,) = classes_of(command.text) or pytest.fail(f"sort {command.text!r} into RUN, PARSED or CI")
    assert "…" not in command.text, "a command that nobody can type"
    if pattern not in CI:
        parse(command.words, monkeypatch)


def test_no_class_is_left_without_commands():
    texts = [command.text for readme in READMES for command in commands(readme)]
    assert [p for p in (*RUN, *PARSED, *CI) if not any(re.fullmatch(p, text) for text in texts)] == []


@pytest.mark.parametrize("readme", READMES)
def test_commands_in_the_running_text_can_be_parsed(readme, monkeypatch):
    for command in inline_commands(readme):
        with monkeypatch.context() as patched:
            parse(command.words, patched)


@pytest.mark.parametrize("readme", READMES)
def test_every_block_is_a_command_or_a_snippet(readme):
    assert {language for language, _ in fences(readme)} <= {"bash", "python"}
    for block in python_blocks(readme):
        ast.parse(block)


@pytest.mark.parametrize("readme", READMES)
def test_every_setting_and_model_in_the_text_exists(readme):
    text = (ROOT / readme).read_text()
    known, models = set(field_names(Config)), set(list_models())
    placeholders = {"section.field", "model.kwargs"}
    for name in re.findall(r"--config\.([a-z]\w*(?:\.[a-z]\w*)*)", text):
        assert name in known | placeholders or name.startswith("model.kwargs."), name
    for name in re.findall(r"--config\.model\.name=(\w+)", text):
        assert name in models, name


@pytest.mark.parametrize("readme", READMES)
def test_links_lead_somewhere(readme):
    folder = (ROOT / readme).parent
    for target in re.findall(r"\]\((?!http)([^)]+)\)", (ROOT / readme).read_text()):
        file, _, anchor = target.partition("#")
        assert (folder / file).exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", (folder / file).read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings], target


def test_the_table_of_models_is_the_commands(capsys):
    from vidjax.apps.models import models

    models(markdown=True)
    text = (ROOT / "README.md").read_text()
    table = text[text.index("<!-- models -->") : text.index("<!-- /models -->")].split("\n", 1)[1]
    assert table.split() == capsys.readouterr().out.split()


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """The folder of somebody who reads the READMEs: the repository, and their own videos and checkpoints in it."""
    needs("torch")
    folder = tmp_path_factory.mktemp("reader")
    copy_repository(folder)
    write_material(folder)
    return folder


def run(arguments, folder):
    """None, or what a command that failed has said."""
    unwanted = ("PYTHONPATH", "VIDJAX_SHARED")
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    environment["PATH"] = f"{folder / 'bin'}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    return f"status {done.returncode}: {(done.stdout + done.stderr)[-2000:]}" if done.returncode else None


@pytest.mark.slow
@pytest.mark.parametrize("readme", READMES)
def test_commands_and_snippets_work_as_written(readme, reader):
    failed = {}
    for command in commands(readme):
        if (pattern := classes_of(command.text)[0]) in RUN:
            extra, leaves = RUN[pattern]
            said = run(["bash", "-c", f"{command.text} {extra}"], reader)
            left = run(["bash", "-c", f"ls -d {leaves}"], reader) if leaves and not said else None
            if said or left:
                failed[command.text] = said or f"{leaves}: is not there"
    if blocks := python_blocks(readme):
        failed["snippets"] = run([sys.executable, "-c", "\n".join([*blocks, CLAIMS[readme]])], reader)
    assert {command: said for command, said in failed.items() if said} == {}
