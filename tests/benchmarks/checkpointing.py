"""What saving checkpoints costs a training: how long `save` holds the loop up, and how much longer updates take while
the rest is written in the background.

    python -m tests.benchmarks.checkpointing [--model r2plus1d_18] [--every 40] [--rounds 3] [--batch 1]

Rounds of `--every` updates of one batch with AdamW, in turns without a save and with one behind the first update. The
script fails where the rounds with a save take more than 1.05 times as long as those without. On a CPU the writing takes
processor time from the updates; on accelerators it does not.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from vidjax import parallel
from vidjax.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from vidjax.config.spec import resolve_spec
from vidjax.data.records import LabelSpace
from vidjax.models.build import build_model
from vidjax.models.registry import get_spec
from vidjax.training.checkpoints import Meta
from vidjax.training.compiled_step import Program
from vidjax.training.saving import RunCheckpoints
from vidjax.training.step import init_state

LIMIT = 1.05


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="r2plus1d_18")
    parser.add_argument("--every", type=int, default=40, help="updates from one save to the next")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=1, help="clips per device")
    args = parser.parse_args()
    batch_size = args.batch * jax.device_count()
    config = Config(
        model=ModelConfig(name=args.model),
        data=DataConfig(),
        optimizer=OptimizerConfig(name="adamw", learning_rate=1e-4),
        train=TrainConfig(batch_size=batch_size, best_metric="video/top1"),
    )
    spec = resolve_spec(get_spec(args.model), config.data, "rgb")
    labels = LabelSpace(tuple(map(str, range(spec.num_classes))))
    program = Program.of(config, spec, labels, num_videos=10**6)
    model = build_model(config, spec.num_classes, dtype=parallel.compute_dtype("auto"))
    state = parallel.place_state(
        init_state(model, program.optimizer, ema=False, sums=program.task.objective.sums), program.mesh
    )
    batch = program.layout.draw(batch_size, config.data.sampling.views)
    batch = parallel.place(batch, parallel.batch_sharding(program.mesh))
    update = program.lower().compile()
    size = sum(x.nbytes for x in jax.tree.leaves(state)) / 1e6
    meta = Meta(config, spec, labels)
    plain, saving, blocked, written = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = RunCheckpoints(Path(folder), 1, "video/top1")
        for number in range(-1, 2 * args.rounds):  # the first one warms up
            started, before = time.perf_counter(), None
            for i in range(args.every):
                state, done = update(state, batch)
                if before is not None:
                    before.block_until_ready()  # as the loop does: one update ahead
                before = done
                if i == 0 and number % 2:
                    done.block_until_ready()  # what the update takes is not what the save takes
                    asked = time.perf_counter()
                    checkpoints.save(state, meta)
                    blocked.append(time.perf_counter() - asked)
            done.block_until_ready()
            (saving if number % 2 else plain).append(time.perf_counter() - started)
            checkpoints.wait()
            if number % 2:
                written.append(time.perf_counter() - asked)
        checkpoints.close()
    plain, saving, blocked, written = (np.median(x[len(x) > args.rounds :]) for x in (plain, saving, blocked, written))
    print(f"{jax.device_count()} × {jax.devices()[0].device_kind}, {args.model}, {size:.0f} MB of state")
    print(f"update {1e3 * plain / args.every:.0f} ms; a save holds the loop up for {1e3 * blocked:.0f} ms, "
          f"and is on disk after {written:.1f} s at the latest")  # fmt: skip
    print(f"held up: {blocked / plain:.2%} of the time with a save every {args.every} updates")
    print(f"time with saves ÷ without: {saving / plain:.3f} (at most {LIMIT})")
    return 0 if saving / plain <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
