"""The costs of a compiled program, by the layer and the pass that they come from."""

import pytest

from tests.benchmarks.steps import HEADER, cells
from vidjax.plan.chips import CHIPS, GPUS
from vidjax.plan.hlo import REACHED, read_hlo
from vidjax.plan.hlo_costs import Cost, costs

# As XLA writes them: the tables of places in the source, then the computations.
SOURCE = """HloModule step

FileNames
1 "/home/someone/train.py"
2 "/home/someone/vidjax/nn/mlp.py"
3 "/home/someone/flax/linear.py"

FunctionNames
1 "main"
2 "Mlp.__call__"
3 "Linear.__call__"

FileLocations
1 {file_name_id=1 function_name_id=1 line=18 end_line=18 column=6 end_column=6}
2 {file_name_id=2 function_name_id=2 line=40 end_line=40 column=6 end_column=6}
3 {file_name_id=3 function_name_id=3 line=77 end_line=77 column=6 end_column=6}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=2}
3 {file_location_id=3 parent_frame_id=3}

"""
FORWARD = 'metadata={op_name="jit(step)/jvp()/dot_general" stack_frame_id=3}'
BACKWARD = 'metadata={op_name="jit(step)/transpose(jvp())/reduce_sum" stack_frame_id=2}'

TPU = f"""{SOURCE}%inner (p: bf16[512,512]) -> bf16[512,512] {{
  ROOT %d = bf16[512,512] convolution(%p, %p), dim_labels=bf_io->bf
}}

%pass (p: bf16[512,512]) -> f32[512] {{
  ROOT %r = f32[512] reduce(%p), {BACKWARD}
}}

%body (p: (s32[], bf16[512,512])) -> (s32[], bf16[512,512]) {{
  %x = bf16[512,512] get-tuple-element(%p), index=1
  %f = bf16[512,512] fusion(%x), kind=kOutput, calls=%inner, {FORWARD}, backend_config={{"estimated_cycles":"150000"}}
  %g = f32[512] fusion(%f), kind=kInput, calls=%pass, backend_config={{"estimated_cycles":"90000000"}}
  ROOT %t = (s32[], bf16[512,512]) tuple(%i, %f)
}}

ENTRY %main (p: bf16[512,512]) -> bf16[512,512] {{
  %w = (s32[], bf16[512,512]) while(%p), condition=%c, body=%body, backend_config={{"known_trip_count":{{"n":"4"}}}}
  %k = bf16[8] custom-call(%w), custom_call_target="tpu_custom_call", metadata={{op_name="jit(step)/jvp()/pallas_call"}}
  %y = bf16[512,512] copy(%w), backend_config={{"estimated_cycles":"1500000"}}
}}
"""

GPU = f"""{SOURCE}%fused (a: bf16[64,512], b: bf16[512,256]) -> bf16[64,256] {{
  %a = bf16[64,512]{{1,0}} parameter(0)
  %b = bf16[512,256]{{1,0}} parameter(1)
  ROOT %d = bf16[64,256]{{1,0}} dot(%a, %b), lhs_contracting_dims={{1}}, rhs_contracting_dims={{0}}
}}

ENTRY %main (p: bf16[64,512]) -> bf16[64,256] {{
  %p = bf16[64,512]{{1,0}} parameter(0)
  %q = bf16[512,256]{{1,0}} parameter(1)
  %f = bf16[64,256]{{1,0}} fusion(%p, %q), kind=kCustom, calls=%fused, {FORWARD}
  %x = bf16[128,112,112,64]{{3,2,1,0}} parameter(2)
  %k = bf16[64,7,7,3]{{3,2,1,0}} parameter(3)
  %y = (bf16[128,56,56,64]{{3,2,1,0}}, u8[0]{{0}}) custom-call(%x, %k), dim_labels=b01f_o01i->b01f, CALL, {FORWARD}
  %r = f32[64]{{0}} reduce(%x, %p), to_apply=%add, {BACKWARD}
  %t = bf16[112,128,112,64]{{3,2,1,0}} transpose(%x), dimensions={{1,0,2,3}}
}}
"""
CONVOLUTION = 'custom_call_target="__cudnn$convForward"'


def test_costs_of_a_program_for_tpus():
    chip = CHIPS["v5e"]
    found = {(cost.kind, cost.backward): cost for cost in costs(TPU, chip)}
    product, total = found["product", False], found["sum", True]
    # In a loop of four; the call from flax belongs to the function of vidjax that it is in.
    assert product == Cost("nn/mlp.py Mlp.__call__", "product", False, 4 * 150000 / chip.clock, 4 * 2**20, 4)
    # No slower than memory allows, and named as the only instruction in it.
    moved = 2**19 + 2048
    assert total.where == "nn/mlp.py Mlp.__call__" and total.bytes == 4 * moved
    assert total.seconds == pytest.approx(4 * max(chip.launch, moved / (REACHED * chip.bandwidth)))
    assert found["layout", False].where == "unknown" and found["kernel", False].seconds == chip.launch


def test_costs_and_the_plan_count_the_same_seconds():
    chip, reading = CHIPS["v5e"], read_hlo(TPU)
    plan = reading.seconds(chip.clock, chip.launch, chip.bandwidth)
    plan += reading.kernel_seconds(chip.peak, chip.bandwidth, chip.launch)
    found = costs(TPU, chip)
    assert sum(cost.seconds for cost in found) == pytest.approx(plan)
    assert [cost.seconds for cost in found] == sorted((cost.seconds for cost in found), reverse=True)


def test_costs_of_a_program_for_gpus():
    """Products at the peak, or what they move; what is inside of a fusion is no kernel of its own."""
    chip = GPUS["h100"]
    text = GPU.replace("CALL", CONVOLUTION)
    found = {cost.kind: cost for cost in costs(text, chip)}
    assert sum(cost.times for cost in found.values()) == 4
    x, y = 128 * 112 * 112 * 64, 128 * 56 * 56 * 64
    dense = 2 * 64 * 512 * 256 / chip.peak
    assert dense < chip.launch
    moving = (2 * (x + y) + 2 * 64 * 147) / (REACHED * chip.bandwidth)
    assert found["product"].seconds == pytest.approx(chip.launch + max(2 * y * 147 / chip.peak, moving))
    assert found["sum"].backward and found["sum"].bytes == 2 * x + 2 * 64 * 512 + 4 * 64
    assert found["layout"].seconds == pytest.approx(4 * x / (REACHED * chip.bandwidth))


@pytest.mark.parametrize(
    ("operands", "result", "labels", "target", "flops"),
    [
        # Kernel gradient: from the input and the output's gradient. Input gradient: from the latter and the kernel.
        ("bf16[8,64,64,32] bf16[8,64,64,16]", "bf16[16,3,3,32]", "b01f_o01i->b01f", "convBackwardFilter", 302.0),
        ("bf16[8,64,64,16] bf16[16,3,3,32]", "bf16[8,64,64,32]", "b01f_o01i->b01f", "convBackwardInput", 302.0),
        # In four groups.
        ("bf16[8,64,64,32] bf16[16,3,3,8]", "bf16[8,64,64,16]", "b01f_o01i->b01f", "convForward", 75.5),
        # (B, N, heads, d): two products with all keys for each query, five for the gradients.
        ("bf16[4,512,2,64] bf16[4,256,2,64] bf16[4,256,2,64]", "bf16[4,512,2,64]", "", "fmhaSoftmax", 268.4),
        ("bf16[4,512,2,64] bf16[4,256,2,64]", "bf16[4,512,2,64]", "", "fmhaSoftmaxBackward", 671.1),
    ],
)
def test_flops_of_cudnns_calls(operands, result, labels, target, flops):
    chip = GPUS["h100"]
    slow = type(chip)(peak=1e9, memory=1, bandwidth=1e30, links=1, launch=0.0)
    kinds = operands.split()
    lines = [f"  %a{i} = {kind}{{0}} parameter({i})" for i, kind in enumerate(kinds)]
    names = ", ".join(f"%a{i}" for i in range(len(kinds)))
    call = f'  %y = ({result}{{0}}, u8[0]{{0}}) custom-call({names}), dim_labels={labels}, target="__cudnn${target}"'
    if not labels:
        call = call.replace(", dim_labels=", "")
    text = "\n".join(["ENTRY %main () -> f32[] {", *lines, call, "}"])
    (cost,) = costs(text, slow)
    assert 1e3 * cost.seconds == pytest.approx(flops, abs=0.1)


def test_a_row_of_the_table_names_the_largest():
    found = {
        "recipe": "k400_x3d_s", "target": "v5e:2x4", "videos": 128, "memory": 3 * 2**30, "step": 0.1, "mfu": 0.054,
        "costs": [Cost("nn/norm.py BatchNorm.__call__", "sum", True, 0.04, 1, 1), Cost("x", "pass", False, 0.01, 1, 1)],
        "exchange": 0.02,
    }  # fmt: skip
    row = cells(found, 2)
    assert row[:5] == ["k400_x3d_s, 128 videos", "v5e:2x4", "3.0", "100.0", "5%"] and len(row) == len(HEADER)
    assert row[5] == "40% sum, backward, `nn/norm.py BatchNorm.__call__`; 20% collectives"
