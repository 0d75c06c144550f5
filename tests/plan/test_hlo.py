"""Reading compiled programs: loops count as often as they run, and collectives by what they put out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from vidjax.plan.hlo import Exchange, Kernel, Reading, Step, read_hlo

# As the TPU compiler writes it: cycles of a fusion cover what it calls, an asynchronous operation has two lines.
PROGRAM = """HloModule step

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b), backend_config={"estimated_cycles":"7"}
}

%inner (p: bf16[8]) -> bf16[8] {
  ROOT %c = bf16[8]{0} negate(%p), backend_config={"estimated_cycles":"1000"}
}

%body (p: (s32[], bf16[4,8])) -> (s32[], bf16[4,8]) {
  %f = bf16[4,8]{1,0} fusion(%x), kind=kLoop, calls=%inner, backend_config={"estimated_cycles":"30"}
  %g = bf16[4,8]{1,0:T(8,128)(2,1)} all-gather(%f), dimensions={0}
  ROOT %t = (s32[], bf16[4,8]) tuple(%i, %g)
}

%cond (p: (s32[], bf16[4,8])) -> pred[] {
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

%to_three (p: (s32[])) -> pred[] {
  %n = s32[]{:T(128)} constant(3)
  ROOT %less = pred[]{:T(512)} compare(%i, %n), direction=LT, metadata={op_name="jit(step)/while/cond/lt"}
}

%once (p: (s32[])) -> (s32[]) {
  ROOT %f = (s32[]) fusion(%x), kind=kLoop, calls=%inner, backend_config={"estimated_cycles":"10"}
}

ENTRY %main (p: bf16[4,8]) -> bf16[4,8] {
  %w = (s32[], bf16[4,8]) while(%p), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %s = (f32[10]{0}, f32[10]{0}) all-reduce-start(%q), to_apply=%add
  %d = f32[10]{0} all-reduce-done(%s)
  %two = (f32[3]{0}, pred[2]{0}) all-to-all(%q, %r)
  %f = bf16[4,8]{1,0} fusion(%w), kind=kLoop, calls=%inner, backend_config={"estimated_cycles":"100"}
  %u = (s32[]) while(%p), condition=%cond, body=%nowhere
  %v = (s32[]) while(%p), condition=%to_three, body=%once
}
"""


def test_program_as_text():
    reading = read_hlo(PROGRAM)
    assert dict(reading.counts) == {"all-gather": 5, "all-reduce": 1, "all-to-all": 1}
    assert dict(reading.bytes) == {"all-gather": 5 * 64, "all-reduce": 40, "all-to-all": 14}
    assert (reading.cycles, reading.loops_unknown) == (280, 1)
    # 64 bytes of the gathered loop state come in with 4 of its counter, 64 go out.
    assert reading.steps == [Step(30, 64, False, 5), Step(100, 132, False, 1), Step(10, 4, False, 3)]
    assert reading.kernels == [] and reading.launches == 5 + 1 + 3


def test_nothing_takes_less_than_its_start():
    reading = Reading(steps=[Step(10, 0, True, 3), Step(10**6, 0, True, 2)])
    assert reading.seconds(1e9, 1e-6) == pytest.approx(3 * 1e-6 + 2 * 1e-3)
    assert reading.seconds(1e9, 0.0) == pytest.approx(reading.cycles / 1e9)


def test_passes_over_memory_are_corrected_by_what_they_move():
    """The compiler takes them to be slower than the memory is; products it knows well."""
    reading = Reading(steps=[Step(1000, 850, False, 2), Step(1000, 850, True, 1), Step(1000, 10**9, False, 1)])
    assert reading.seconds(1e9, 0.0) == pytest.approx(4e-6)
    assert reading.seconds(1e9, 0.0, bandwidth=1e10) == pytest.approx(2 * 1e-7 + 1e-6 + 1e-6)
    assert reading.seconds(1e9, 5e-7, bandwidth=1e10) == pytest.approx(2 * 5e-7 + 1e-6 + 1e-6)


def test_kernels_are_priced_by_what_their_authors_say():
    reading = Reading(kernels=[Kernel(4 * 10**8, 0, 0, 2), Kernel(0, 0, 85 * 10**6, 1)])
    assert reading.kernel_seconds(1e12, 1e11, 0.0) == pytest.approx(2 * 1e-3 + 1e-3)
    assert reading.kernels_unknown == 0 and Reading(kernels=[Kernel(0, 0, 0, 3)]).kernels_unknown == 3


# A product inside of a fusion, and two kernels, of which one says what it costs.
KERNELS = """HloModule step

%times (a: f32[8,4], b: f32[4,8]) -> f32[8,8] {
  ROOT %dot = f32[8,8]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

ENTRY %main (p: f32[8,4], q: f32[4,8]) -> f32[8,8] {
  %p = f32[8,4]{1,0} parameter(0)
  %q = f32[4,8]{1,0} parameter(1)
  %f = f32[8,8]{1,0} fusion(%p, %q), kind=kOutput, calls=%times, backend_config={"estimated_cycles":"30"}
  %k = f32[8,8]{1,0} custom-call(%f), custom_call_target="tpu_custom_call", backend_config={"custom_call_config":{"body":"TUz", "cost_estimate":{"flops":"90","transcendentals":"35","bytes_accessed":"11","remote_bytes_transferred":"0"}}}
  ROOT %u = f32[8,8]{1,0} custom-call(%k), custom_call_target="tpu_custom_call", backend_config={}
}
"""  # noqa: E501


def test_products_and_kernels_are_told_apart():
    reading = read_hlo(KERNELS)
    assert reading.steps == [Step(30, 4 * (8 * 8 + 2 * 8 * 4), True, 1)]
    assert reading.kernels == [Kernel(90, 35, 11, 1), Kernel(0, 0, 0, 1)]


# A gather that runs beside other work is written in every fusion that it takes; one sum scatters its result.
ASYNCHRONOUS = """HloModule step

%all-reduce-scatter.1 (p: bf16[8,8]) -> bf16[8,4] {
  %r = bf16[8,8]{1,0} all-reduce(%p), channel_id=3, replica_groups={{0,1},{2,3}}, to_apply=%add
}

%start (p: bf16[2,8]) -> bf16[8,8] {
  %g = bf16[8,8]{1,0} all-gather(%p), channel_id=7, replica_groups=mesh['a'=2,'b'=1,'c'=4] {'c','b'}, dimensions={0}
}

%end (p: bf16[2,8]) -> bf16[8,8] {
  %g = bf16[8,8]{1,0} all-gather(%p), channel_id=7, replica_groups=mesh['a'=2,'b'=1,'c'=4] {'c','b'}, dimensions={0}
}

ENTRY %main (p: bf16[2,8]) -> bf16[8,8] {
  %a = bf16[8,8]{1,0} fusion(%p), kind=kCustom, calls=%start, backend_config={"estimated_cycles":"10"}
  %b = bf16[8,8]{1,0} fusion(%a), kind=kCustom, calls=%end, backend_config={"estimated_cycles":"20"}
  %c = bf16[8,4]{1,0} fusion(%b), kind=kCustom, calls=%all-reduce-scatter.1, backend_config={"estimated_cycles":"5"}
  %d = f32[4]{0} all-reduce(%c), channel_id=9, replica_groups=[4,2]<=[8], to_apply=%add
  %e = f32[4]{0} all-reduce(%d), channel_id=10, replica_groups=mesh['a'=2,'b'=4], to_apply=%add
}
"""


def test_collectives_inside_fusions_count_once():
    reading = read_hlo(ASYNCHRONOUS)
    assert reading.counts == {"all-gather": 1, "reduce-scatter": 1, "all-reduce": 2} and reading.cycles == 35
    assert [(e.kind, e.bytes, e.devices) for e in reading.exchanges] == [
        ("all-gather", 128, 4), ("reduce-scatter", 64, 2), ("all-reduce", 16, 2), ("all-reduce", 16, 0)
    ]  # fmt: skip


def test_permutations_of_one_number_all_count():
    """As `shard_map` writes them."""
    start = "(bf16[8,8]{1,0}, bf16[8,8]{1,0}, u32[], u32[]) collective-permute-start(%p), channel_id=1"
    text = f"ENTRY %main (p: bf16[8,8]) -> bf16[8,8] {{\n  %a = {start}\n  %b = {start}\n}}\n"
    assert read_hlo(text).counts == {"collective-permute": 2} and read_hlo(text).bytes == {"collective-permute": 256}


@pytest.mark.parametrize(
    ("kind", "sent"),
    [("all-reduce", 150), ("all-gather", 75), ("all-to-all", 75), ("reduce-scatter", 300), ("collective-permute", 100)],
)
def test_bytes_that_a_device_passes_on(kind, sent):
    assert Exchange(kind, 100, 4, 1).sent(8) == sent
    assert Exchange(kind, 100, 0, 3).sent(4) == 3 * sent


@pytest.mark.parametrize("devices", [1, 4])
def test_compiled_program(devices):
    mesh = Mesh(np.array(jax.devices()[:devices]), ("data",))
    split = jax.ShapeDtypeStruct((8, 16), jnp.float32, sharding=NamedSharding(mesh, P("data")))
    whole = jax.ShapeDtypeStruct((16, 32), jnp.float32, sharding=NamedSharding(mesh, P()))
    gradient = jax.jit(jax.grad(lambda w, x: jnp.square(x @ w).sum()), out_shardings=NamedSharding(mesh, P()))
    reading = read_hlo(gradient.lower(whole, split).compile().as_text())
    assert dict(reading.bytes) == ({"all-reduce": 16 * 32 * 4} if devices > 1 else {})


def test_loop_of_a_compiled_program():
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    x = jax.ShapeDtypeStruct((8, 16), jnp.float32, sharding=NamedSharding(mesh, P("data")))

    def sums(x):
        total = jax.lax.scan(lambda c, _: (jnp.cos(c + x.sum() * c), None), jnp.float32(1), length=7)[0]
        return total

    reading = read_hlo(jax.jit(sums).lower(x).compile().as_text())
    assert reading.loops_unknown == 0
