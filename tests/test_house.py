"""The house: what may import what, what is light, and that every experiment and public name is there."""

import ast
import graphlib
import importlib
import importlib.util
import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vidjax
from vidjax.config.validate import validate
from vidjax.data.records import Caption
from vidjax.models import get_spec
from vidjax.tasks import TASKS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vidjax"
CONFIGS = sorted((ROOT / "configs").glob("*.py"))

# From the ground up; a folder imports from those before it.
FLOORS = (
    *(
        "errors",
        "interrupts",
        "wording",
        "unpickle",
        "spectrograms",
        "sound_features",
        "text",
        "inputs",
        "batch",
        "config",
        "progress",
        "lettering",
        "launch",
        "video",
        "nn",
    ),
    *("parallel", "models", "data", "weights", "evaluation", "tasks", "training", "plan"),
    *(
        "parts",
        "predictions",
        "view_batches",
        "export",
        "zero_shot",
        "opened_network",
        "predictor",
        "captioner",
        "cascade",
    ),
    *("embeddings", "serving"),
    *("apps", "__main__"),
)


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("vidjax"):
            if node.module == "vidjax":
                yield from (alias.name for alias in node.names)
            else:
                yield node.module.split(".")[1]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    floor = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if floor == "__init__":
        return  # the front door names rooms on every floor, and opens them on first use
    above = FLOORS[FLOORS.index(floor) + 1 :]
    assert not set(imports_of(path)) & set(above)


# What may speak of tasks by name: the tasks themselves, the settings, and the commands, some of which bear the same
# names; older files are read by their own names.
OF_TASKS = ("tasks/", "config/", "apps/commands/")
OLDER = {"data/records.py", "data/prepared/read.py"}
# Where the name of a task is also that of a kind of annotation, or of its column in a list.
ANNOTATIONS = {"data/records.py", "data/listing/caption_csv.py", "data/listing/json_lines.py"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_branch_on_the_name_of_a_task(path):
    """A new task is a folder and a line in the table: nothing else asks which one it is."""
    name = path.relative_to(PACKAGE).as_posix()
    if name.startswith(OF_TASKS):
        return
    tree = ast.parse(path.read_text())
    declared = {
        id(k.value) for call in ast.walk(tree) if isinstance(call, ast.Call) for k in call.keywords if k.arg == "task"
    }
    for node in ast.walk(tree):
        kind = name in ANNOTATIONS and getattr(node, "value", None) == Caption.kind
        if isinstance(node, ast.Constant) and node.value in TASKS and id(node) not in declared and not kind:
            pytest.fail(f"{name}:{node.lineno} names the task {node.value!r}")
        if isinstance(node, ast.Attribute) and node.attr in TASKS:
            pytest.fail(f"{name}:{node.lineno} reads the settings of the task {node.attr}")
        words = {getattr(node, "id", ""), getattr(node, "attr", ""), getattr(node, "arg", "")}
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and name not in OLDER:
            words |= {node.value}
        assert not words & {"multi_label", "classifies"}, f"{name}:{node.lineno}"
        if isinstance(node, ast.Compare):
            assert "objective" not in ast.unparse(node.left).split("."), f"{name}:{node.lineno}"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_batches_are_laid_out_in_one_place(path):
    """The old keys of a batch are nowhere, and nobody but the inputs themselves knows how many channels there are."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "batch":
            assert getattr(node.slice, "value", None) not in ("video", "label"), f"{path}:{node.lineno}"


def test_imports_go_in_no_circle():
    """Neither within a folder, nor in a function, nor for type checkers alone: each file can be read after those that
    it is built on."""
    files = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in PACKAGE.rglob("*.py")}
    files = {name.removesuffix(".__init__"): path for name, path in files.items()}
    imports = {name: set() for name in files}
    for name, path in files.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imports[name] |= {alias.name for alias in node.names} & files.keys()
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path}:{node.lineno}: name the module in full"
                parts = [f"{node.module}.{alias.name}" for alias in node.names]
                found = {part if part in files else node.module for part in parts}
                imports[name] |= found & files.keys() - {name}
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"these import each other: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("folder", ["nn", "models", "models/families"])
def test_models_need_no_video_libraries(folder):
    """Accelerator machines without decoders run models and the training step."""
    for path in (PACKAGE / folder).glob("*.py"):
        roots = {
            (n.module if isinstance(n, ast.ImportFrom) else n.names[0].name).split(".")[0]
            for n in ast.walk(ast.parse(path.read_text()))
            if isinstance(n, ast.Import | ast.ImportFrom)
        }
        assert roots - set(sys.stdlib_module_names) <= {"jax", "flax", "numpy", "einops", "chex", "vidjax"}, path


def loaded_by(code):
    """Names of the modules that a fresh interpreter has loaded after `code`."""
    code += "\nimport sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_import_and_help_are_light():
    heavy = {"jax", "flax", "torch", "av", "cv2", "grain", "numpy", "matplotlib"}
    assert not heavy & loaded_by("import vidjax")
    help_text = "import vidjax.__main__ as m\ntry: m.main(['--help'])\nexcept SystemExit: pass"
    assert not heavy & loaded_by(help_text)


def test_data_workers_do_not_load_jax():
    assert not {"jax", "flax", "torch"} & loaded_by("import vidjax.data.reading.clips, vidjax.data.reading.transforms")


def test_public_names_exist():
    for name in vidjax.__all__:
        assert getattr(vidjax, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'create_modle'"):
        _ = vidjax.create_modle


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_builds(path):
    from vidjax.models.build import build_model

    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = validate(module.get_config())
    model = build_model(config, get_spec(config.model.name).num_classes, dtype=None, abstract=True)
    assert hasattr(model, "decoder" if get_spec(config.model.name).task == "reconstruct" else "head")
    assert f"configs/{path.name}" in path.read_text(), "the docstring gives the command"


def test_messages_count_in_plain_english():
    """No "3 view(s)", no "every 2. frame": `vidjax.wording` counts things and names ordinals."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.search(r"[a-z]\((s|es)\)(?!:)", node.value), f"{path}:{node.lineno}"
            elif isinstance(node, ast.JoinedStr):
                for value, text in itertools.pairwise(node.values):
                    ordinal = isinstance(value, ast.FormattedValue) and str(getattr(text, "value", "")).startswith(". ")
                    assert not (ordinal and text.value[2:3].islower()), f"{path}:{node.lineno}"


def test_configs_are_documented():
    readme = (ROOT / "configs" / "README.md").read_text()
    assert [p.name for p in CONFIGS if p.name not in readme] == []


def test_readme_stays_short_and_its_files_exist():
    text = (ROOT / "README.md").read_text()
    prose = text[: text.index("<!-- models -->")] + text[text.index("<!-- /models -->") :]  # a generated table
    assert len(prose.splitlines()) < 330
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (ROOT / target).exists(), target


def test_the_version_stands_in_one_place_and_is_the_one_to_cite():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"] and project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "vidjax.__version__"}
    assert f"\nversion: {vidjax.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert vidjax.__version__ in (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1].partition("\n")[0]
