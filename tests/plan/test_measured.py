"""A measurement beside plan's figures: the right device, the same program, and ratios of like with like."""

from types import SimpleNamespace

import jax
import pytest
from rich.console import Console

from vidjax import config as cfg
from vidjax.config.validate import validate
from vidjax.plan.chips import CHIPS, GPUS, KINDS
from vidjax.plan.estimates import DataFacts, estimate, make_program
from vidjax.plan.gpu import Gpus
from vidjax.plan.measured import beside_plan, show_beside_plan

FACTS = DataFacts(5, 100, False)
# One product of 10⁸ cycles, and a pass over memory that the compiler takes to be as slow.
TEXT = """
%inside (x: bf16[8,8]) -> bf16[8,8] {
  %x = bf16[8,8]{1,0} parameter(0)
  ROOT %d = bf16[8,8]{1,0} dot(%x, %x)
}

ENTRY %main (a: bf16[8,8]) -> bf16[8,8] {
  %a = bf16[8,8]{1,0} parameter(0)
  %f = bf16[8,8]{1,0} fusion(%a), kind=kOutput, calls=%inside, backend_config={"estimated_cycles":"100000000"}
  ROOT %c = bf16[8,8]{1,0} copy(%f), backend_config={"estimated_cycles":"100000000"}
}
"""


def program(devices=2, **model):
    config = validate(
        cfg.Config(
            model=cfg.ModelConfig(name="frame_pool_tiny", **model),
            data=cfg.DataConfig(clip=cfg.ClipConfig(num_frames=2, size=32, resize=(32,))),
            train=cfg.TrainConfig(batch_size=8, steps=100),
        )
    )
    return make_program(config, FACTS, jax.devices()[:devices])


def compiled(text=TEXT):
    """What a TPU's compiler gives, as far as it is looked at; it cannot be compiled again."""
    sizes = {"argument": 2**20, "output": 2**20, "alias": 2**20, "temp": 3 * 2**20}
    stats = SimpleNamespace(
        generated_code_size_in_bytes=0, **{f"{name}_size_in_bytes": size for name, size in sizes.items()}
    )
    return SimpleNamespace(as_text=lambda: text, memory_analysis=lambda: stats, cost_analysis=lambda: {})


def measured(source="allocator", **others):
    return {
        "clips_per_s": 40.0, "model_flops": 1e12, "seconds": {"step": 0.2}, "matmul_flops": 1e14,
        "memory": {"total": 8 * 2**20, "source": source},
    } | others  # fmt: skip


def test_a_tpu_is_compared_with_both_estimates_of_its_own_program():
    whole = program(compute_dtype="bfloat16")
    plan = beside_plan("TPU v5 lite", whole, compiled(), FACTS, measured())
    own = estimate(whole, compiled(), CHIPS["v5e"], FACTS)
    assert plan["target"] == "v5e:2" and plan["figures"] == {"target": "v5e:2"} | own
    compared = plan["compared"]
    assert compared["clips_per_s"] == {
        "measured": 40.0, "predicted": own["clips_per_s"], "ratio": pytest.approx(40 / own["clips_per_s"])
    }  # fmt: skip
    # Two times 10⁸ cycles, of which the correction leaves the product's.
    assert own["clips_per_s"] == pytest.approx(8 * CHIPS["v5e"].clock / 2e8, rel=0.01)
    assert compared["clips_per_s_corrected"]["predicted"] == pytest.approx(2 * own["clips_per_s"], rel=0.01)
    assert compared["mfu"]["measured"] == compared["mfu_corrected"]["measured"] == 1e12 / 0.2 / 197e12
    assert compared["mfu_corrected"]["predicted"] == own["corrected"]["mfu"]
    assert compared["memory"] == {"measured": 8 * 2**20, "predicted": 4 * 2**20, "ratio": 2.0}
    assert compared["matmul_flops"] == {"measured": 1e14, "predicted": 2 * 197e12, "ratio": 1e14 / (2 * 197e12)}


def test_what_would_be_compared_with_itself_or_another_type_is_left_out():
    compared = beside_plan("TPU v4", program(), compiled(), FACTS, measured("compiler"))["compared"]
    assert set(compared) == {"clips_per_s", "mfu", "clips_per_s_corrected", "mfu_corrected"}


def test_a_gpu_is_compared_with_the_bound_of_data_sheets_and_nothing_is_compiled(capsys, monkeypatch):
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda *_, **__: pytest.fail("compiled"))
    plan = beside_plan("NVIDIA H100 80GB HBM3", whole := program(), compiled(), FACTS, measured("compiler"))
    own = Gpus("h100:2").figures(whole.config, FACTS, 25.0)
    assert plan["figures"] == own and set(plan["compared"]) == {"clips_per_s", "mfu", "memory"}
    assert plan["compared"]["clips_per_s"]["predicted"] == own["clips_per_s"]
    assert plan["compared"]["mfu"]["measured"] == 1e12 / 0.2 / GPUS["h100"].peak
    assert plan["compared"]["memory"]["predicted"] == own["memory"]["total"]
    show_beside_plan(plan, Console(width=200))
    out = capsys.readouterr().out
    assert "beside plan's figures for h100:2" in out and "clips/s, at most" in out and "corrected" not in out
    assert f"{own['clips_per_s']:.1f}" in out and "the ratio of clips/s is usually below 1" in out


def test_table_of_a_tpu(capsys):
    plan = beside_plan("TPU v6 lite", program(), compiled(), FACTS, measured())
    show_beside_plan(plan, Console(width=200))
    rows = [[cell.strip() for cell in line.split("│")] for line in capsys.readouterr().out.splitlines()]
    corrected = plan["compared"]["clips_per_s_corrected"]
    expected = ["clips/s, corrected", "40.0", f"{corrected['predicted']:.1f}", f"{corrected['ratio']:.2f}"]
    assert expected in [row[1:-1] for row in rows]
    assert ["memory per device", "0.01 GiB", "0.00 GiB", "2.00"] in [row[1:-1] for row in rows]


@pytest.mark.parametrize(
    "kind", ["cpu", "NVIDIA H100 PCIe", "NVIDIA GH200 480GB", "NVIDIA A10G", "NVIDIA H100 80GB HBM3 MIG 1g.10gb"]
)
def test_of_other_devices_nothing_is_predicted_and_one_line_says_so(kind, capsys):
    plan = beside_plan(kind, program(), compiled(), FACTS, measured())
    assert plan["reason"].startswith(f"plan does not know {kind}, only whole v4, ")
    show_beside_plan(plan, Console(width=80))
    assert capsys.readouterr().out.splitlines() == [f"no prediction to compare with: {plan['reason']}"]


@pytest.mark.parametrize("text", [None, TEXT.replace("estimated_cycles", "none")])
def test_a_runtime_that_tells_no_cycles(text):
    plan = beside_plan("TPU v5", program(), compiled(text), FACTS, measured())
    assert plan == {"reason": "the text of the program compiled for TPU v5 gives no cycles"}


def test_what_plan_cannot_do_costs_no_measurement(monkeypatch):
    whole = program(2)
    whole.config.mesh.data, whole.config.mesh.model = 1, 2
    assert "config.mesh.model = 2" in beside_plan("NVIDIA L4", whole, compiled(), FACTS, measured())["reason"]
    monkeypatch.setattr("vidjax.plan.measured.estimate", lambda *_: 1 / 0)
    plan = beside_plan("TPU v4", whole, compiled(), FACTS, measured())
    assert plan == {"reason": "plan failed with ZeroDivisionError: division by zero"}


def test_devices_are_known_by_the_names_of_the_table():
    assert set(KINDS.values()) == {*CHIPS, *GPUS}
