"""What looping over a Transformer's blocks and recomputing them do to a training step: size of the program, time to
compile it, and memory, as the compiler says.

    python -m tests.benchmarks.blocks [--model videomae_base] [--batch 8] [--topology v5e:2x2] [--remat "" full]

With a topology the step is compiled for one chip of such a TPU (the extra `tpu`), else for one device of this machine.
Times are processor time, of all threads. Attention by heads, a loop of its own on a CPU, counts as what it is.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from vidjax.config import Config, ModelConfig, TrainConfig
from vidjax.config.choices import REMAT
from vidjax.config.spec import resolve_spec
from vidjax.config.validate import validate
from vidjax.data.records import LabelSpace
from vidjax.models import get_spec
from vidjax.nn.target_backend import targeting
from vidjax.plan.chips import tpu_devices
from vidjax.training.compiled_step import Program

LABELS = LabelSpace(tuple(map(str, range(400))))


def measured(config: Config, device: Any) -> tuple[int, float, float, float]:
    """Lines of the lowered program, processor seconds to lower and to compile it, and GiB of temporaries."""
    config = validate(config)
    spec = resolve_spec(get_spec(config.model.name), config.data, config.model.input)
    with targeting("tpu" if device.platform == "tpu" else None, device):
        program = Program.of(config, spec, LABELS, num_videos=10**5, devices=[device])
        lowered, lowering = _timed(program.lower)
    compiled, compiling = _timed(lowered.compile)
    memory = compiled.memory_analysis().temp_size_in_bytes / 2**30
    return lowered.as_text().count("\n"), lowering, compiling, memory


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    result = call()
    return result, time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="videomae_base")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--topology", default="")
    parser.add_argument("--remat", nargs="*", default=REMAT)
    args = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)
    device = tpu_devices(args.topology)[0] if args.topology else jax.devices()[0]
    table = Table("remat", "scanned", "lines", "lowering s", "compiling s", "temporaries GiB")
    for scan in (False, True):
        for remat in args.remat:
            model = ModelConfig(name=args.model, remat=remat, scan_blocks=scan)
            config = Config(model=model, train=TrainConfig(batch_size=args.batch, steps=100))
            lines, lowering, compiling, memory = measured(config, device)
            table.add_row(remat or "–", str(scan), str(lines), f"{lowering:.1f}", f"{compiling:.1f}", f"{memory:.2f}")
    Console().print(f"{args.model}, batch {args.batch}, {device.device_kind}", table)


if __name__ == "__main__":
    main()
