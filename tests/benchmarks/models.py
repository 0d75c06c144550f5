"""Time of video networks on CPU, side by side with the reference's: `python -m tests.benchmarks.models`.

Both have the same weights, checked by their logits, and run on the same number of threads in one process, in turns, so
that a disturbance meets both: the ratio is the median of the turns' ratios. Forward is in evaluation mode, without
gradients; forward and backward is a training step's cross-entropy and all parameter gradients, in training mode.
PyTorch runs in the faster one of its two memory layouts. The clips are those that the model is made for. Run it on an
idle machine: other work slows PyTorch's threads, which wait for each other at every layer, more than XLA's.

The reference is torchvision's network, or else pytorchvideo's, which is installed with --no-deps, beside fvcore,
iopath, parameterized and what they ask for; see `peers.py`.

    --models r2plus1d_18 videomae_base   --batch 1   --threads 2   --repeats 5   --pass forward
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

# Networks and the ratios wanted: forward, and forward with backward.
WANTED = {
    "r3d_18": (1.2, 1.6),
    "r2plus1d_18": (1.2, 1.6),
    "slow_r50": (1.2, 1.6),
    "i3d_r50": (1.2, 1.6),
    "slowfast_r50_8x8": (1.2, 1.6),
    "s3d": (1.2, 1.6),
    "x3d_s": (2.0, 3.0),
    "csn_r101": (2.0, 3.0),
    "videomae_base": (1.2, None),
    "timesformer_base_divided": (1.2, None),
    "swin3d_t": (1.2, None),
    "mvit_v2_s": (1.2, None),
}
FORWARD, BACKWARD = "forward", "forward + backward"

Turn = tuple[float, float]  # seconds on the clock, and summed over processors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(WANTED))
    parser.add_argument("--batch", type=int, default=1, help="clips")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pass", dest="passes", nargs="+", choices=["forward", "backward"], help="default: as wanted")
    args = parser.parse_args()
    # XLA's thread pool has one thread per processor the process may run on.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])

    import torch

    torch.set_num_threads(args.threads)
    print("| network, clips | pass | torch ms (least) | vidjax ms (least) | ratio (wanted) | of processor time |")
    print("|---|---|---|---|---|---|")
    for name in args.models:
        wanted = WANTED.get(name, (None, None))
        passes = args.passes or ["forward", *(["backward"] if wanted[1] else [])]
        compare(name, args.batch, passes, args.repeats, dict(zip((FORWARD, BACKWARD), wanted, strict=True)))


def compare(name: str, batch: int, passes: list[str], repeats: int, wanted: dict[str, float | None]) -> None:
    """Prints a network's rows of the table."""
    import numpy as np

    from tests.benchmarks import peers
    from vidjax.models.registry import get_spec

    spec = get_spec(name)
    network, model = peers.pair(name)
    shape = (batch, spec.num_frames, spec.size, spec.size, 3)
    video = np.random.default_rng(0).standard_normal(shape, np.float32)
    theirs, ours = torch_runs(name, network, video), jax_runs(model, video)
    for kind in [FORWARD] * ("forward" in passes) + [BACKWARD] * ("backward" in passes):
        if kind == FORWARD:
            agree(name, np.asarray(ours[kind]()), next(iter(theirs[kind].values()))().numpy())
        times = interleave({**theirs[kind], "vidjax": ours[kind]}, repeats)
        mine = times.pop("vidjax")
        # PyTorch's better layout is the one with the smaller median.
        best = min(times.values(), key=lambda turns: statistics.median(wall for wall, _ in turns))
        ratios = [[a / b for a, b in zip(*turns, strict=True)] for turns in zip(mine, best, strict=True)]
        wall, processor = (statistics.median(values) for values in zip(*ratios, strict=True))
        target = f" ({wanted[kind]})" if wanted.get(kind) else ""
        print(
            f"| `{name}`, {batch}×{spec.num_frames}×{spec.size}² | {kind} | {_milliseconds(best)} | "
            f"{_milliseconds(mine)} | {wall:.2f}{target} | {processor:.2f} |",
            flush=True,
        )


def _milliseconds(turns: list[Turn]) -> str:
    walls = [wall * 1e3 for wall, _ in turns]
    return f"{statistics.median(walls):.0f} ({min(walls):.0f})"


def agree(name: str, ours, theirs) -> None:
    """Ends the program unless both compute the same: the times would mean nothing."""
    import numpy as np

    # pytorchvideo's X3D gives probabilities.
    if np.allclose(theirs.sum(axis=1), 1, atol=1e-3):
        ours = np.exp(ours) / np.exp(ours).sum(axis=1, keepdims=True)
    difference = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    if not difference < 1e-4:
        raise SystemExit(f"{name}: the answers differ by {difference:.1e}, relative: the times mean nothing")


def interleave(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[Turn]]:
    """The turns of each, taken one after the other."""
    for run in runs.values():
        run()
    times: dict[str, list[Turn]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter(), time.process_time()
            run()
            times[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return times


def torch_runs(name: str, network, video) -> dict[str, dict[str, Callable[[], object]]]:
    import copy

    import torch

    from tests.benchmarks.peers import network_input

    label = torch.arange(len(video))
    runs: dict[str, dict[str, Callable[[], object]]] = {FORWARD: {}, BACKWARD: {}}
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        model = copy.deepcopy(network).to(memory_format=layout)
        clip = torch.from_numpy(video).permute(0, 4, 1, 2, 3).contiguous(memory_format=layout)

        def forward(model=model, clip=clip):
            model.eval()
            with torch.inference_mode():
                return model(network_input(name, clip))

        def forward_backward(model=model, clip=clip):
            model.train()
            model.zero_grad()
            torch.nn.functional.cross_entropy(model(network_input(name, clip)), label).backward()

        runs[FORWARD][str(layout)] = forward
        runs[BACKWARD][str(layout)] = forward_backward
    return runs


def jax_runs(model, video) -> dict[str, Callable[[], object]]:
    import jax
    import optax
    from flax import nnx

    from vidjax.models.state import merge, split

    label = jax.numpy.arange(len(video))
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
            logits = model(video, rngs=nnx.Rngs(dropout=0))
            value = optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()
            return value, split(model)[2]

        return jax.value_and_grad(loss, has_aux=True)(params)

    return {
        FORWARD: lambda: jax.block_until_ready(forward(params, stats, video)),
        BACKWARD: lambda: jax.block_until_ready(forward_backward(params, stats, video)),
    }


if __name__ == "__main__":
    main()
