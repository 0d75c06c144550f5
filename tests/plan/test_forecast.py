"""Plans: that their figures are those of the program, fit together, and say what is missing."""

import dataclasses
import importlib.util
import json
import math
import re
from pathlib import Path

import jax
import pytest
from rich.console import Console

from vidjax import config as cfg
from vidjax.__main__ import main
from vidjax.config.files import read_config
from vidjax.config.spec import resolve_spec
from vidjax.config.validate import validate
from vidjax.data.listing.datasets import DATASETS
from vidjax.models.cost import model_cost
from vidjax.models.registry import family_of, get_spec
from vidjax.nn.attention_kernel import BACKWARD, FORWARD
from vidjax.nn.target_backend import targeting
from vidjax.plan import estimates
from vidjax.plan.chips import CHIPS, GPUS, PEAK_FLOPS, read_gpus, read_topology, slices, tpu_devices
from vidjax.plan.forecast import _show as show_plan
from vidjax.plan.hlo import KERNEL_SHARE, Kernel, Reading, Step
from vidjax.plan.storage import storage
from vidjax.training.compiled_step import Program

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = ["--config.data.clip.num_frames=2", "--config.data.clip.size=32", "--config.data.clip.resize=(32,)"]
needs_libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the extra tpu")


def program(batch_size, devices):
    config = cfg.Config(
        model=cfg.ModelConfig(name="frame_pool_tiny"),
        data=cfg.DataConfig(
            clip=cfg.ClipConfig(num_frames=2, size=32, resize=(32,)), sampling=cfg.SamplingConfig(views=2)
        ),
        train=cfg.TrainConfig(batch_size=batch_size, steps=7200),
    )
    config = validate(config)
    spec = resolve_spec(get_spec("frame_pool_tiny"), config.data, "rgb")
    return Program.of(
        config, spec, estimates.DataFacts(5, 100, False).labels, num_videos=100, devices=jax.devices()[:devices]
    )


@pytest.mark.slow
def test_figures_are_those_of_the_program_and_fit_together():
    facts = estimates.DataFacts(5, 100, False)
    compiled = (whole := program(8, 4)).lower().compile()
    figures = estimates.estimate(whole, compiled, CHIPS["v5e"], facts, 50.0)
    macs = model_cost("frame_pool_tiny", num_classes=5, num_frames=2, size=32).macs
    assert figures["model_flops"] == 6 * macs * 16 / 4
    # XLA:CPU's own figures for the very program.
    stats = compiled.memory_analysis()
    assert figures["memory"]["arguments"] == stats.argument_size_in_bytes
    assert figures["memory"]["temporaries"] == stats.temp_size_in_bytes
    assert figures["xla_flops"] == compiled.cost_analysis()["flops"] > 0.5 * figures["model_flops"]
    state = sum(
        x.nbytes for x in jax.tree.leaves(jax.tree.map(lambda s: jax.numpy.zeros(s.shape, s.dtype), whole.state))
    )
    assert figures["checkpoint_bytes"] == state
    assert estimates.argument_bytes(whole) == figures["memory"]["arguments"]
    seconds = figures["seconds"]
    exchange = seconds["collectives"] + seconds["latency"]
    assert seconds["step"] == pytest.approx(max(seconds["compute"], seconds["compiler"]) + exchange)
    assert exchange > 0 and seconds["roofline"] is None
    assert figures["clips_per_s"] == pytest.approx(16 / seconds["step"])
    assert figures["hours"] == pytest.approx(7200 * seconds["step"] / 3600) and figures["steps"] == 7200
    assert figures["host_cores"] == pytest.approx(figures["clips_per_s"] / 50)
    assert figures["storage"] == storage(figures["clips_per_s"], 50.0, views=2, hosts=1) and figures["hosts"] == 1
    assert figures["corrected"]["storage"]["mp4"]["host_cores"] == figures["corrected"]["host_cores"]
    # Gradients of all parameters are summed over the devices, and of one device over none.
    parameters = sum(4 * x.size for x in jax.tree.leaves(whole.state.params))
    assert figures["collectives"]["all-reduce"]["bytes"] >= parameters
    alone = estimates.estimate(one := program(8, 1), one.lower().compile(), CHIPS["v5e"], facts)
    assert not alone["collectives"] and alone["model_flops"] == 4 * figures["model_flops"]


@pytest.mark.slow
def test_what_does_not_fit():
    whole = program(8, 1)
    small = dataclasses.replace(CHIPS["v5e"], memory=2**28 + 1000)
    figures = estimates.estimate(whole, whole.lower().compile(), small, estimates.DataFacts(5, 100, False))
    assert not figures["fits"]


def test_sizes_of_data_sets(shared):
    assert all(d.train_videos > 1000 for d in DATASETS.values())
    lines = (shared / "data/labels/ucfTrainTestlist/trainlist01.txt").read_text().split("\n")
    assert DATASETS["ucf101"].train_videos == sum(bool(line.strip()) for line in lines)
    assert DATASETS["hmdb51"].train_videos == 70 * len(DATASETS["hmdb51"].class_names)
    config = cfg.Config(data=cfg.DataConfig(dataset="charades"))
    assert estimates.data_facts(config, 0, 0) == estimates.DataFacts(157, 7985, True)
    assert estimates.data_facts(config, 3, 4) == estimates.DataFacts(3, 4, True)
    with pytest.raises(cfg.ConfigError, match="--num-videos"):
        estimates.data_facts(cfg.Config(), 0, 0)


def test_the_videos_of_a_csv_are_counted_wherever_they_are(tmp_path):
    """By the split column, with the classes and labels that training would find; the videos are elsewhere."""
    rows = [f"{i}.mp4,{'abc'[i % 3]}{'|d' if i == 4 else ''},{'train' if i < 7 else 'val'}" for i in range(10)]
    (tmp_path / "all.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    config = cfg.Config(data=cfg.DataConfig(train=str(tmp_path / "all.csv")))
    assert estimates.data_facts(config, 0, 0) == estimates.DataFacts(4, 7, True)
    assert estimates.data_facts(config, 9, 0) == estimates.DataFacts(9, 7, True)
    assert estimates.data_facts(config, 0, 100) == estimates.DataFacts(400, 100, False)
    config.data.train = str(tmp_path / "gone.csv")
    with pytest.raises(cfg.ConfigError, match=r"cannot be counted; give --num-videos, .*gone.csv: no such file"):
        estimates.data_facts(config, 0, 0)


def test_the_videos_of_a_folder_are_counted(tmp_path):
    for name, count in (("run", 10), ("walk", 5)):
        (tmp_path / name).mkdir()
        for i in range(count):
            (tmp_path / name / f"{i}.mp4").touch()
    config = cfg.Config(data=cfg.DataConfig(train=str(tmp_path), eval_share=0.2))
    assert estimates.data_facts(config, 0, 0) == estimates.DataFacts(2, 12, False)
    config.model.name = "videomae_base_pretrain"
    assert estimates.data_facts(config, 0, 0) == estimates.DataFacts(1, 12, False)


@pytest.mark.parametrize("name", ["v5e", "v7:2x2", "v5e:2by2", "v5e:4"])
def test_wrong_topology(name, capsys):
    assert main(["plan", f"--topology={name}"]) == 1
    assert "v5e:16x16" in capsys.readouterr().err


def test_chips_of_a_topology():
    assert read_topology("v5p:8x8x8") == (CHIPS["v5p"], 512)
    assert read_gpus("H200:8") == (GPUS["h200"], 8)
    for name in ("h200", "h200:0", "h1000:8", "h200:8x8"):
        with pytest.raises(cfg.ConfigError, match="such as h200:8"):
            read_gpus(name)
    assert PEAK_FLOPS["tpu_v5e"] == 197e12 and PEAK_FLOPS["h100"] == 989e12


@pytest.mark.parametrize("name", ["v4:2x2x1", "v5e:2x2"])
def test_slices_of_a_generation(name):
    chips = [read_topology(one)[1] for one in slices(name)]
    assert chips == [8, 16, 32, 64, 128, 256, 512]
    assert slices(name)[3] == {"v4:2x2x1": "v4:4x4x4", "v5e:2x2": "v5e:8x8"}[name]


def test_latency_grows_with_the_way_around_the_torus():
    flat, cube = CHIPS["v5e"], CHIPS["v5p"]
    assert flat.latency(256, both_ways=True) == pytest.approx(2 * 16 * 1e-6)
    assert cube.latency(64, both_ways=False) == pytest.approx(3 * 4 * 1e-6 / 2)
    assert GPUS["h100"].latency(8, both_ways=True) == GPUS["h100"].latency(2, both_ways=False) == 1e-5


def made_up(batch_size, *, kernels=200, cycles_per_video=50):
    """Figures of a step whose kernels all have the same cycles, in proportion to the batch."""
    chip = CHIPS["v5e"]
    reading = Reading(steps=[Step(cycles_per_video * batch_size, 10**12, True, 1)] * kernels)
    work = estimates.Work(
        1e6 * batch_size, {"total": 2**30}, exchange=1e-6, latency=1e-4, collectives={}, xla={},
        kernels=reading.launches, compiler=reading.seconds(chip.clock, chip.launch),
    )  # fmt: skip
    config = cfg.Config(train=cfg.TrainConfig(batch_size=batch_size))
    return estimates.figures_of(config, {}, {"data": 1}, chip, estimates.DataFacts(2, 1000, False), 25.0, work)


def test_a_larger_batch_takes_no_less_time_and_launches_alone_are_not_resolved():
    found = [made_up(2**power) for power in range(12)]
    steps = [figures["seconds"]["step"] for figures in found]
    assert steps == sorted(steps) and steps[-1] > 10 * steps[0]
    assert steps[0] == pytest.approx(200 * CHIPS["v5e"].launch + 1.01e-4)
    assert not found[0]["resolved"] and found[-1]["resolved"] and found[0]["bound"] == "starting kernels"
    speeds = [figures["clips_per_s"] for figures in found]
    assert speeds == sorted(speeds)


def test_short_runs_are_told_in_minutes_and_memory_with_its_reason(capsys):
    gpu = GPUS["h100"]
    figures = made_up(4) | {"target": "h100:1", "usable_why": gpu.usable_why, "hours": 0.2}
    show_plan(figures, Console(width=200))
    out = capsys.readouterr().out
    assert "host cores: JPEG ArrayRecord" in out and "estimates from figures measured on one machine" in out
    assert "2500 steps, 12 min" in out and "below what the estimate resolves" in out
    assert "GiB: fits (75 % of 80, JAX's default share of a GPU)" in out
    assert gpu.usable == 60 * 2**30 and CHIPS["v5e"].usable_why == "the TPU compiler reserves 0.25 of 16"
    show_plan(made_up(2**12) | {"target": "v5e:1x1"}, Console(width=200))
    assert "below what" not in capsys.readouterr().out


def test_kernels_are_priced_and_those_of_which_nothing_is_known_leave_no_mfu(capsys):
    chip, config = CHIPS["v5p"], cfg.Config()
    facts = estimates.DataFacts(2, 1000, False)

    def figures(*kernels):
        reading = Reading(steps=[Step(10**6, 10**6, False, 1)], kernels=list(kernels))
        work = estimates.Work(
            1e9, {"total": 2**30}, exchange=0.0, latency=0.0, collectives={}, xla={}, kernels=reading.launches,
            kernels_unknown=reading.kernels_unknown, compiler=reading.seconds(chip.clock, chip.launch),
            corrected=reading.seconds(chip.clock, chip.launch, chip.bandwidth),
            handwritten=reading.kernel_seconds(chip.peak, chip.bandwidth, chip.launch),
        )  # fmt: skip
        return estimates.figures_of(config, {}, {"data": 1}, chip, facts, 25.0, work) | {"target": "v5p:1x1x1"}

    without, priced, unknown = figures(), figures(Kernel(10**12, 0, 0, 1)), figures(Kernel(0, 0, 0, 2))
    more = priced["seconds"]["step"] - without["seconds"]["step"]
    assert (
        priced["seconds"]["handwritten"]
        == pytest.approx(1e12 / (KERNEL_SHARE * chip.peak))
        == pytest.approx(more, rel=1e-3)
    )
    assert priced["corrected"]["step"] - without["corrected"]["step"] == pytest.approx(more, rel=1e-2)
    assert without["corrected"]["clips_per_s"] > without["clips_per_s"]
    show_plan(priced, Console(width=200))
    out = capsys.readouterr().out
    assert "by their own counts" in out and out.count("MFU") == 2 + 1  # and what it means
    show_plan(unknown, Console(width=200))
    out = capsys.readouterr().out
    assert "not known for 2 kernels" in out and out.count("MFU") == 1 and "at most" in out


def test_out_of_memory_in_words():
    message = "RESOURCE_EXHAUSTED: Ran out of memory on HBM, total (16.00G) exceeds available HBM (15.75G)."
    assert "needs 16.0 GiB per device" in estimates._exhausted(message) and "15.75" in estimates._exhausted(message)
    assert estimates._exhausted("RESOURCE_EXHAUSTED: no more\nmore words") == "RESOURCE_EXHAUSTED: no more"


@pytest.mark.parametrize(
    ("flags", "wrong"),
    [("", "--gpu"), ("--topology=v5e:2x2 --gpu=h200:8", "--gpu"), ("--gpu=h200:8 --search --scaling", "--search")],
)
def test_one_place_and_one_question(flags, wrong, capsys):
    with pytest.raises(SystemExit):
        main(["plan", *flags.split()])
    assert wrong in capsys.readouterr().err


def test_without_the_compiler(monkeypatch, capsys):
    def none(**_):
        raise RuntimeError("no")

    monkeypatch.setattr("jax.experimental.topologies.get_topology_desc", none)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["plan", "--topology=v5e:2x2", "--num-videos=9"]) == 1
    assert "pip install -e '.[tpu]'" in capsys.readouterr().err


@pytest.mark.parametrize("flags", ["--most=3", "--search --out=x.png"])
def test_options_of_other_questions_are_refused(flags, capsys):
    assert main(["plan", "--gpu=h200:8", "--num-videos=9", *flags.split()]) == 1
    assert "--out needs --scaling" in capsys.readouterr().err


@needs_libtpu
@pytest.mark.slow(first=2)
@pytest.mark.parametrize("name", ["folder", "k400_i3d_r50", "motion", "motion_frame_pool"])
def test_configs_plan(name, capsys):
    """Short and small clips, so that it compiles in seconds."""
    path = CONFIGS / f"{name}.py"
    settings = [*TINY, "--config.data.clip.num_frames=8", "--config.train.batch_size=8", "--config.train.accumulate=1"]
    arguments = [f"--config={path}", "--topology=v5e:2x2", "--num-videos=1000", "--json", *settings]
    assert main(["plan", *arguments]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["chips"] == 4 and figures["model"] == read_config([f"--config={path}"]).model.name
    assert figures["seconds"]["compiler"] > 0 and 0 < figures["mfu"] < 1 and figures["steps"] > 0
    assert figures["collectives"]["all-reduce"]["bytes"] > 0


@needs_libtpu
@pytest.mark.slow(first=1)
@pytest.mark.parametrize("topology", ["v4:2x2x1", "v5p:2x2x1", "v6e:2x2"])
def test_every_generation_plans(topology, capsys):
    """v5e is that of the configs; here with parameters and features split too."""
    settings = [*TINY, "--config.train.batch_size=4", "--config.mesh.data=1", "--config.mesh.fsdp=2"]
    path = CONFIGS / "motion_frame_pool.py"
    arguments = [f"--config={path}", f"--topology={topology}", *settings, "--config.mesh.model=2"]
    assert main(["plan", "--json", *arguments]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["chips"] == 4 and figures["mesh"] == {"data": 1, "fsdp": 2, "model": 2}
    assert figures["memory"]["usable"] == CHIPS[topology.split(":")[0]].usable
    assert figures["seconds"]["compiler"] > 0 and figures["seconds"]["latency"] > 0 and 0 < figures["mfu"] < 1


# Those with attention, and one without.
LOWERED = [
    path
    for path in sorted(CONFIGS.glob("*.py"))
    if any(word in path.stem for word in ("vit", "videomae", "vjepa2", "timesformer", "swin", "k400_i3d_r50"))
    and path.stem != "k400_i3d_r50_nl"
    and not path.stem.startswith("activitynet")  # which has "vit" in it
]


def of_each_family(paths, most):
    """Recipes; those of a family that an earlier one has, and what is left after so many, are for the exhaustive
    tests."""
    families = {family_of(read_config([f"--config={path}"]).model.name)[1]: path for path in reversed(paths)}
    first = sorted(families.values())[:most]
    return [
        pytest.param(path, id=path.stem, marks=pytest.mark.slow if path in first else pytest.mark.exhaustive)
        for path in paths
    ]


@needs_libtpu
@pytest.mark.parametrize("path", of_each_family(LOWERED, 5))
def test_configs_with_attention_lower_at_full_size(path):
    """All that a plan does but compiling, which takes minutes for some; a clip for each chip keeps tracing short."""
    config = validate(read_config([f"--config={path}", "--config.train.accumulate=1"]))
    facts = estimates.data_facts(config, 0, 0 if config.data.dataset or config.data.synthetic else 1000)
    chips = tpu_devices("v5e:2x2")
    with targeting("tpu", chips[0]):
        own = estimates.make_program(config, facts, chips[: 1 if config.train.batch_size % 4 else 4])
        config.train.batch_size = 4
        text = estimates.make_program(config, facts, chips).lower().as_text()
    assert own.batch["inputs"]["video"].shape[0] == read_config([f"--config={path}"]).train.batch_size
    assert "num_partitions = 4" in text
    if path.stem != "k400_i3d_r50":
        assert FORWARD in text and (BACKWARD in text or config.model.probe)
        assert not _scores(text)


def _scores(text):
    """Shapes of arrays `(B, heads, N, M)` with a score for each pair of so many tokens that they fill memory; those of
    Swin's bias have no batch."""
    shapes = {tuple(map(int, shape.split("x"))) for shape in re.findall(r"tensor<((?:\d+x){3,}\d+)x", text)}
    return {s for s in shapes if s[-1] == s[-2] >= 190 and math.prod(s[:-3]) > 1}


@pytest.mark.parametrize("path", of_each_family(sorted(CONFIGS.glob("*.py")), 12))
def test_every_config_plans_as_it_is(path, capsys):
    """On GPUs, whose estimate needs no compiler."""
    config = read_config([f"--config={path}"])
    gpus = math.gcd(config.train.batch_size, 8)
    assert main(["plan", f"--config={path}", f"--gpu=h200:{gpus}", "--num-videos=1000", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["chips"] == gpus and figures["model"] == config.model.name and figures["fits"]
    assert figures["clips_per_update"] % config.train.batch_size == 0 and figures["steps"] > 0
    assert 0 < figures["mfu"] < 1 and figures["clips_per_s"] > 0 and figures["hours"] > 0
