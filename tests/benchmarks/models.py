"""Time of video networks on CPU, side by side with torchvision's: `python tests/benchmarks/models.py`.

Both run on the same number of threads in one process, in turns; the medians are compared. Forward is in evaluation
mode, without gradients; forward and backward is a training step's cross-entropy and all parameter gradients, in
training mode. PyTorch runs in the faster one of its two memory layouts. Run it on an idle machine: other work slows
PyTorch's threads, which wait for each other at every layer, more than XLA's.

    --models r2plus1d_18 r3d_18   --batch 2   --frames 8   --size 112   --threads 2   --repeats 5
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["r2plus1d_18", "r3d_18"])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    # XLA's thread pool has one thread per processor the process may run on.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])

    print("model         pass                torchvision      vidjax    ratio    ratio of processor time")
    for name in args.models:
        theirs, ours = torch_runs(name, args), jax_runs(name, args)
        for kind, mine in ours.items():
            times = interleave({**theirs[kind], "jax": mine}, args.repeats)
            wall, processor = times.pop("jax")
            best_wall, best_processor = (min(values) for values in zip(*times.values(), strict=True))
            print(
                f"{name:13} {kind:17} {best_wall * 1e3:10.0f} ms {wall * 1e3:8.0f} ms {wall / best_wall:7.2f}x"
                f" {processor / best_processor:10.2f}x",
                flush=True,
            )


def interleave(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, tuple[float, float]]:
    """Median seconds of each on the clock and summed over processors; in turns, so that a disturbance meets all."""
    for run in runs.values():
        run()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter(), time.process_time()
            run()
            times[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return {name: tuple(map(statistics.median, zip(*values, strict=True))) for name, values in times.items()}


def torch_runs(name: str, args: argparse.Namespace) -> dict[str, dict[str, Callable[[], object]]]:
    import torch

    # torchvision's wheel expects operators that a CPU-only torch lacks; declaring them is enough for its models.
    if "torchvision" not in sys.modules:
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for operator in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operator}", schema)
    import torchvision

    torch.set_num_threads(args.threads)
    label = torch.arange(args.batch)
    runs: dict[str, dict[str, Callable[[], object]]] = {"forward": {}, "forward+backward": {}}
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        model = getattr(torchvision.models.video, name)().to(memory_format=layout)
        video = torch.randn(args.batch, 3, args.frames, args.size, args.size).to(memory_format=layout)

        def forward(model=model, video=video):
            model.eval()
            with torch.no_grad():
                return model(video)

        def forward_backward(model=model, video=video):
            model.train()
            model.zero_grad()
            torch.nn.functional.cross_entropy(model(video), label).backward()

        runs["forward"][str(layout)] = forward
        runs["forward+backward"][str(layout)] = forward_backward
    return runs


def jax_runs(name: str, args: argparse.Namespace) -> dict[str, Callable[[], object]]:
    import jax
    import optax

    from vidjax.models import create_model
    from vidjax.models.state import merge, split

    model = create_model(name)
    video = jax.random.normal(jax.random.key(0), (args.batch, args.frames, args.size, args.size, 3))
    label = jax.numpy.arange(args.batch)
    evaluated, params, stats = split(model)
    model.train()
    trained, _, _ = split(model)

    @jax.jit
    def forward(params, stats, video):
        return merge(evaluated, params, stats)(video)

    @jax.jit
    def forward_backward(params, stats, video):
        def loss(params):
            model = merge(trained, params, stats)
            value = optax.softmax_cross_entropy_with_integer_labels(model(video), label).mean()
            return value, split(model)[2]

        return jax.value_and_grad(loss, has_aux=True)(params)

    return {
        "forward": lambda: jax.block_until_ready(forward(params, stats, video)),
        "forward+backward": lambda: jax.block_until_ready(forward_backward(params, stats, video)),
    }


if __name__ == "__main__":
    main()
