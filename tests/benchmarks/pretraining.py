"""What a pre-training step costs, with most of the video hidden, against a training step of the same encoder on all of
it: time, and operations as XLA counts them.

    python -m tests.benchmarks.pretraining [--size base] [--batch 1] [--repeats 3]

The aim on a GPU is a ratio of 0.35 at 90 %. XLA counts a loop's body once, and the CPU's attention over many tokens is
such a loop over heads, so multiply-adds are given too, as `vidjax models` counts them, of the forward pass.
"""

import argparse
import time

import jax
import numpy as np
import optax

from vidjax.batch import layout_of
from vidjax.config import Config
from vidjax.data.records import LabelSpace
from vidjax.models import create_model, get_spec
from vidjax.models.cost import model_cost
from vidjax.tasks import make_task
from vidjax.training.step import StepOptions, init_state, make_train_step


def measured(name: str, batch: int, repeats: int) -> tuple[float, float]:
    """Seconds (the median) and 10⁹ operations of one update with AdamW."""
    model, spec, optimizer = create_model(name), get_spec(name), optax.adamw(1e-4)
    task = make_task(Config(), spec, LabelSpace(tuple(map(str, range(spec.num_classes)))))
    clips = layout_of(spec.inputs, task.targets.fields()).draw(batch, 1)
    clips, state = jax.device_put((clips, init_state(model, optimizer, ema=False, sums=task.objective.sums)))
    step = make_train_step(model, optimizer, task.objective, StepOptions(seed=0))
    step = jax.jit(step, donate_argnums=0).lower(state, clips).compile()
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        state = jax.block_until_ready(step(state, clips))
        times.append(time.perf_counter() - started)
    return float(np.median(times[1:])), step.cost_analysis()["flops"] / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="base")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    names = f"videomae_{args.size}_pretrain", f"videomae_{args.size}"
    results = [(*measured(name, args.batch, args.repeats), model_cost(name).gmacs) for name in names]
    print(f"{jax.device_count()} × {jax.devices()[0].device_kind}, batch {args.batch}")
    for name, (seconds, operations, gmacs) in zip(names, results, strict=True):
        print(f"{name}: {seconds:.3f} s, {operations:.0f} GFLOP by XLA, {gmacs:.1f} GMACs forward")
    ratios = [a / b for a, b in zip(*results, strict=True)]
    print("ratios: time {:.3f}, XLA's operations {:.3f}, multiply-adds {:.3f}".format(*ratios))


if __name__ == "__main__":
    main()
