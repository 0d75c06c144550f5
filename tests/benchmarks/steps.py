"""The largest costs of recipes' updates on devices that are not there, as rows for `steps.md`.

    python -m tests.benchmarks.steps TARGET RECIPE [--top 3] [--keep FOLDER] [--config.field=value …]

TARGET is a TPU slice such as `v5e:2x4`, or GPUs such as `h100:8`, for which the extra gpu-plan and `JAX_PLATFORMS=cpu`
are needed. The update is compiled as `vidjax plan` compiles it, and read by `vidjax.plan.hlo_costs`.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from vidjax.config.files import read_config
from vidjax.config.validate import validate
from vidjax.nn.target_backend import targeting
from vidjax.plan.chips import GPUS, read_gpus, read_topology, tpu_devices
from vidjax.plan.estimates import compile_program, data_facts, make_program, memory_of, model_macs
from vidjax.plan.gpu_targets import compiling_for, gpu_devices
from vidjax.plan.hlo import read_hlo
from vidjax.plan.hlo_costs import Cost, costs

HEADER = ("recipe, per update", "on", "GiB per device", "step ms", "MFU", "largest costs, share of the step")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("recipe")
    parser.add_argument("--top", type=int, default=3, help="costs to name (default: 3)")
    parser.add_argument("--keep", type=Path, help="folder for the text of the program")
    args, settings = parser.parse_known_args()
    found, text = measure(args.target, args.recipe, settings)
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
        (args.keep / f"{args.recipe}.{args.target.replace(':', '-')}.hlo").write_text(text)
    print(line(HEADER), line(["---"] * len(HEADER)), line(cells(found, args.top)), sep="\n")
    return 0


def measure(target: str, recipe: str, settings: list[str]) -> tuple[dict[str, Any], str]:
    """What the compiled update of a recipe takes of each device of `target`, and its text."""
    config = validate(read_config([f"--config=configs/{recipe}.py", *settings]))
    facts = data_facts(config, 0, 0)
    gpus = target.split(":")[0].lower() in GPUS
    chip, count = (read_gpus if gpus else read_topology)(target)
    devices = (gpu_devices if gpus else tpu_devices)(target)
    with compiling_for(devices[0]) if gpus else targeting("tpu", devices[0]):
        program = make_program(config, facts, devices)
        compiled = compile_program(program)
        flops = 2.0 * model_macs(program) * program.clips / count
    text = compiled.as_text()
    largest = costs(text, chip)
    exchanges = read_hlo(text).exchanges
    exchange = sum(e.sent(count) for e in exchanges) / chip.links + sum(
        e.times * chip.latency(e.devices or count, both_ways=e.kind == "all-reduce") for e in exchanges
    )
    step = max(sum(cost.seconds for cost in largest), flops / chip.peak) + exchange
    return {
        "recipe": recipe,
        "target": target,
        "videos": config.train.batch_size,
        "memory": memory_of(compiled)["total"],
        "step": step,
        "mfu": flops / chip.peak / step,
        "costs": largest,
        "exchange": exchange,
    }, text


def cells(found: dict[str, Any], top: int) -> list[str]:
    """One row under `HEADER`."""
    step = found["step"]

    def words(cost: Cost) -> str:
        return f"{cost.seconds / step:.0%} {cost.kind}{', backward' * cost.backward}, `{cost.where}`"

    largest = [(cost.seconds, words(cost)) for cost in found["costs"]]
    largest.append((found["exchange"], f"{found['exchange'] / step:.0%} collectives"))
    largest.sort(key=lambda one: -one[0])
    return [
        f"{found['recipe']}, {found['videos']} videos",
        found["target"],
        f"{found['memory'] / 2**30:.1f}",
        f"{1e3 * step:.1f}",
        f"{found['mfu']:.0%}",
        "; ".join(name for _, name in largest[:top]),
    ]


def line(row: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(row)} |"


if __name__ == "__main__":
    sys.exit(main())
