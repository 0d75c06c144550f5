"""Comparison of a measured training step with the prediction of `vidjax plan` for the same devices."""

from typing import Any

from rich.console import Console
from rich.table import Table

from vidjax import parallel
from vidjax.errors import UserError
from vidjax.plan.chips import CHIPS, GPUS, KINDS, Chip
from vidjax.plan.estimates import CLIPS_PER_CORE, DataFacts, estimate
from vidjax.plan.gpu import Gpus
from vidjax.training.compiled_step import Program

_UNRESOLVED = (
    "below what plan resolves: half of the predicted step or more is starting kernels and exchanging anything at all"
)
_BOUND = "predicted from data sheets only, as an upper bound: the ratio of clips/s is usually below 1"


def beside_plan(
    kind: str, program: Program, compiled: Any, facts: DataFacts, measured: dict[str, Any]
) -> dict[str, Any]:
    """Compare a measurement with the plan for its devices, ready for JSON.

    Nothing is compiled: for TPUs the text of the compiled update is read, for GPUs the update is traced.

    Args:
      kind: JAX's name of the devices, such as "TPU v5 lite".
      program: the update that was measured.
      compiled: the update, compiled for the devices.
      facts: facts of the data set.
      measured: result of `bench step`: "clips_per_s", "model_flops", "seconds", "memory", "matmul_flops".

    Returns:
      "target": name of the devices in plans, such as `v5e:8`; "compared": for each of "clips_per_s", "mfu" (of the data
      sheet's peak), on TPUs both once more as "…_corrected", "memory" and, in bfloat16, "matmul_flops", a dictionary of
      "measured", "predicted" and "ratio"; "figures": all figures of the plan. Or only "reason": why there is no plan.
    """
    if kind not in KINDS:
        return {"reason": f"plan does not know {kind}, only whole {', '.join((*CHIPS, *GPUS))} (SXM boards)"}
    name, devices = KINDS[kind], program.mesh.devices.size
    target = f"{name}:{devices}"
    try:
        figures = _figures(target, program, compiled, facts)
    except UserError as error:
        return {"reason": str(error)}
    except Exception as error:  # it must not cost the measurement, perhaps on a rented machine
        return {"reason": f"plan failed with {type(error).__name__}: {error}"}
    if figures["seconds"]["compiler"] == 0:
        return {"reason": f"the text of the program compiled for {kind} gives no cycles"}
    chip = CHIPS.get(name) or GPUS[name]
    return {"target": target, "compared": _compared(figures, chip, program, measured), "figures": figures}


def _figures(target: str, program: Program, compiled: Any, facts: DataFacts) -> dict[str, Any]:
    name = target.split(":")[0]
    if name in CHIPS:
        return {"target": target} | estimate(program, compiled, CHIPS[name], facts)
    return Gpus(target).figures(program.config, facts, CLIPS_PER_CORE)


def _compared(
    figures: dict[str, Any], chip: Chip, program: Program, measured: dict[str, Any]
) -> dict[str, dict[str, float]]:
    speed, mfu = measured["clips_per_s"], measured["model_flops"] / measured["seconds"]["step"] / chip.peak
    pairs = {"clips_per_s": (speed, figures["clips_per_s"]), "mfu": (mfu, figures["mfu"])}
    if corrected := figures.get("corrected"):
        pairs |= {"clips_per_s_corrected": (speed, corrected["clips_per_s"]), "mfu_corrected": (mfu, corrected["mfu"])}
    # For a TPU, both would be the compiler's own figure.
    if measured["memory"]["source"] == "allocator" or not corrected:
        pairs["memory"] = measured["memory"]["total"], figures["memory"]["total"]
    if parallel.compute_dtype(program.config.model.compute_dtype) is not None:  # bfloat16, as the peak of a data sheet
        pairs["matmul_flops"] = measured["matmul_flops"], chip.peak * figures["chips"]
    return {
        what: {"measured": ours, "predicted": theirs, "ratio": ours / theirs} for what, (ours, theirs) in pairs.items()
    }


def show_beside_plan(plan: dict[str, Any], console: Console) -> None:
    """Print the result of `beside_plan`: a table, or a line with the reason why there is none."""
    if "reason" in plan:
        console.print(f"no prediction to compare with: {plan['reason']}", highlight=False, soft_wrap=True)
        return
    figures = plan["figures"]
    by = ", compiler's cycles" if "corrected" in figures else ", at most"
    titles = {
        "clips_per_s": (f"clips/s{by}", lambda x: f"{x:.1f}"),
        "mfu": (f"MFU of the data sheet's peak{by}", lambda x: f"{100 * x:.1f} %"),
        "clips_per_s_corrected": ("clips/s, corrected", lambda x: f"{x:.1f}"),
        "mfu_corrected": ("MFU of the data sheet's peak, corrected", lambda x: f"{100 * x:.1f} %"),
        "memory": ("memory per device", lambda x: f"{x / 2**30:.2f} GiB"),
        "matmul_flops": ("products of matrices", lambda x: f"{x / 1e12:.3g} TFLOP/s"),
    }
    table = Table(
        "", "measured", "predicted", "measured ÷ predicted", title=f"beside plan's figures for {plan['target']}"
    )
    for what, row in plan["compared"].items():
        name, words = titles[what]
        table.add_row(name, words(row["measured"]), words(row["predicted"]), f"{row['ratio']:.2f}")
    console.print(table)
    if "corrected" not in figures:
        console.print(_BOUND, highlight=False)
    if figures["kernels_unknown"]:
        console.print("predicted without hand-written kernels of unknown cost, so an upper bound", highlight=False)
    if not figures["resolved"]:
        console.print(_UNRESOLVED, highlight=False)
