"""Division of attention into programs for the TPU kernel of `nn/attention_kernel.py`, by the memory of the chip."""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from vidjax.nn.target_backend import target

LANES = 128  # width of a vector register: blocks are multiples of it, or as wide as the array

# Bytes of vector memory that a kernel may request, by the kind of device: v5e and v6e have 128 MiB, v5p 64, others
# (v4) 16.
_VMEM = {"TPU v5 lite": 96 * 2**20, "TPU v5e": 96 * 2**20, "TPU v6 lite": 96 * 2**20, "TPU v6e": 96 * 2**20,
         "TPU v5": 48 * 2**20, "TPU v5p": 48 * 2**20, "TPU7x": 48 * 2**20}  # fmt: skip
_LEAST_VMEM = 14 * 2**20

_MOST_ROWS = 256  # queries per block of a long sequence
_WHOLE = 512  # sequences up to this length are one block of queries
_TOGETHER = 8  # maximum of sequences per program
_PACKED = 128  # maximum of tokens of very short sequences side by side

Ids = tuple[jax.Array, jax.Array]


@dataclass(frozen=True)
class Plan:
    """Division of the work into programs.

    Attributes:
      heads: H, number of heads.
      block: heads per program.
      rows: queries per program.
      group: sequences per program.
      packed: very short sequences side by side in one.
      scale: factor of the scores.
      causal: whether a query sees only keys up to its own position.
      bias: whether a bias is added to the scores.
      ids: whether queries see only keys of their own number.
      part: whether the keys are a part of all, see `part_of_attention` of the kernel.
      vmem: bytes of vector memory for the kernels.
      interpret: whether to use JAX's interpreter, on any backend, for tests.
    """

    heads: int
    block: int
    rows: int
    group: int
    packed: int
    scale: float
    causal: bool
    bias: bool
    ids: bool
    part: bool
    vmem: int
    interpret: bool


def plan_for(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    scale: float,
    causal: bool = False,
    bias: jax.Array | None = None,
    ids: Ids | None = None,
    part: bool = False,
    vmem: int | None = None,
    interpret: bool = False,
) -> Plan | None:
    """Plan how the kernel divides the inputs of `fused_attention`; None where it does not support them.

    Supported are bfloat16 and float32; a positive scale; a bias for all pairs of a query and a key, common to all
    sequences; and keys as long as a program's part of them fits into `vmem` bytes (None: those of the target device).
    With `part`, for `part_of_attention`, neither a bias nor `causal`.
    """
    vmem = vmem or _VMEM.get(target().kind, _LEAST_VMEM)
    (batch, n, heads, d), (_, m, _, e) = q.shape, v.shape
    if q.dtype not in (jnp.bfloat16, jnp.float32) or not q.dtype == k.dtype == v.dtype or not scale > 0:
        return None
    if bias is not None and (bias.shape[0] != 1 or bias.shape[2:] != (n, m)):
        return None
    if part and (causal or bias is not None):
        return None
    block = next(
        b for b in range(1, heads + 1) if heads % b == 0 and (b == heads or b * d % LANES == b * e % LANES == 0)
    )
    if part and 2 * block > LANES:
        return None
    packed = 1
    if not part and bias is None and ids is None and not causal and n == m <= _PACKED // 2:
        packed = _divisor(batch, _PACKED // n)
    batch, n, m = batch // packed, n * packed, m * packed
    # The gradient of a bias is summed over the sequences, which needs all queries of a sequence at a time.
    rows = n if bias is not None or n <= _WHOLE else _rows(n, _MOST_ROWS)
    group = 1
    if rows == n:
        group = _divisor(batch if ids is None else ids[0].shape[0], min(_TOGETHER, max(1, 2 * _WHOLE // n)))
    plan = Plan(
        heads, block, rows, group, packed, scale, causal, bias is not None, ids is not None, part, vmem, interpret
    )
    while (needed := _bytes(plan, n, m, d, e, q.dtype.itemsize)) > vmem:
        if plan.group > 1:
            plan = dataclasses.replace(plan, group=_divisor(plan.group, plan.group - 1))
        elif bias is None and plan.rows > 32:
            plan = dataclasses.replace(plan, rows=_rows(n, plan.rows // 2))
        else:
            return None
    # No more than twice the estimate: the rest is for arrays that the compiler keeps there between layers.
    return dataclasses.replace(plan, vmem=min(vmem, max(_LEAST_VMEM, 2 * needed)))


def _divisor(number: int, most: int) -> int:
    """Largest divisor of `number` that is at most `most`, at least 1."""
    return next((d for d in range(min(number, most), 0, -1) if number % d == 0), 1)


def _rows(n: int, most: int) -> int:
    """Queries per block: a multiple of 16 near `most`, a divisor of `n` if there is one."""
    whole = [rows for rows in range(most // 16 * 16, most // 2, -16) if n % rows == 0]
    return whole[0] if whole else max(16, most // 16 * 16)


def _bytes(plan: Plan, n: int, m: int, d: int, e: int, itemsize: int) -> int:
    """Approximate vector memory of the backward kernel: blocks twice (one in use, the next being fetched), sums, and
    six arrays of the size of the scores."""
    lanes = sum(-(-plan.block * width // LANES) * LANES for width in (d, e))
    blocks = 2 * plan.group * lanes * itemsize * (2 * plan.rows + 2 * m)
    sums = lanes * m * 4 if plan.rows < n else 0
    scores = plan.rows * -(-m // LANES) * LANES * 4
    bias = 4 * plan.block * scores if plan.bias else 0
    # Of parts: results as float32, and two numbers for each query and head.
    part = 2 * plan.group * (lanes * (4 - itemsize) * (plan.rows + m) + 4 * LANES * plan.rows) if plan.part else 0
    return blocks + sums + 6 * scores + bias + part
