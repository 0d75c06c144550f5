"""Time of video networks, side by side with the reference's: `python -m tests.benchmarks.models`.

Both have the same weights, checked by their logits, and run on the same number of threads in one process, in turns, so
that a disturbance meets both: the ratio is the median of the turns' ratios. Forward is in evaluation mode, without
gradients; forward and backward is a training step's cross-entropy and all parameter gradients, in training mode.
PyTorch runs in the faster one of its two memory layouts. The clips are those that the model is made for. Run it on an
idle machine: other work slows PyTorch's threads, which wait for each other at every layer, more than XLA's.

The reference is torchvision's network, or else pytorchvideo's, which is installed with --no-deps, beside fvcore,
iopath, parameterized and what they ask for; see `peers.py`.

With --device cuda both run on one GPU, in bfloat16 (PyTorch: autocast; parameters stay float32) unless --dtype says
otherwise; it needs PyTorch's and JAX's builds for CUDA in one environment. --compile gives PyTorch's network to
torch.compile, in both layouts.

    --models r2plus1d_18 videomae_base   --batch 1   --threads 2   --repeats 5   --pass forward
    --models videomae_base   --batch 16   --repeats 20   --pass backward   --device cuda   --compile
"""

import argparse
import contextlib
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
# By which the answers may differ, relative to their length.
TOLERANCES = {"float32": 1e-4, "bfloat16": 3e-2}

Turn = tuple[float, float]  # seconds on the clock, and summed over processors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(WANTED))
    parser.add_argument("--batch", type=int, default=1, help="clips")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pass", dest="passes", nargs="+", choices=["forward", "backward"], help="default: as wanted")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=list(TOLERANCES), help="default: float32, on cuda bfloat16")
    parser.add_argument("--compile", action="store_true", help="torch.compile for PyTorch's network")
    args = parser.parse_args()
    if args.device == "cpu":
        # XLA's thread pool has one thread per processor the process may run on.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    else:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory too

    import jax
    import torch

    if (there := jax.default_backend()) != {"cpu": "cpu", "cuda": "gpu"}[args.device]:
        raise SystemExit(f"JAX runs on {there}, PyTorch would on {args.device}: set JAX_PLATFORMS, or --device")
    torch.set_num_threads(args.threads)
    dtype = args.dtype or {"cpu": "float32", "cuda": "bfloat16"}[args.device]
    rival = "torch.compile" if args.compile else "torch"
    print(f"{jax.devices()[0].device_kind}, {dtype}")
    print(f"| network, clips | pass | {rival} ms (least) | vidjax ms (least) | ratio (wanted) | of processor time |")
    print("|---|---|---|---|---|---|")
    for name in args.models:
        wanted = WANTED.get(name, (None, None))
        passes = args.passes or ["forward", *(["backward"] if wanted[1] else [])]
        compare(
            name, args.batch, passes, args.repeats, dict(zip((FORWARD, BACKWARD), wanted, strict=True)),
            device=args.device, dtype=dtype, compiled=args.compile,
        )  # fmt: skip


def compare(
    name: str,
    batch: int,
    passes: list[str],
    repeats: int,
    wanted: dict[str, float | None],
    *,
    device: str,
    dtype: str,
    compiled: bool,
) -> None:
    """Prints a network's rows of the table."""
    import numpy as np

    from tests.benchmarks import peers
    from vidjax.models.registry import get_spec

    spec = get_spec(name)
    network, model = peers.pair(name, dtype)
    shape = (batch, spec.video.num_frames, spec.video.size, spec.video.size, 3)
    video = np.random.default_rng(0).standard_normal(shape, np.float32)
    theirs = torch_runs(name, network, video, device=device, dtype=dtype, compiled=compiled)
    ours = jax_runs(model, video)
    for kind in [FORWARD] * ("forward" in passes) + [BACKWARD] * ("backward" in passes):
        if kind == FORWARD:
            answers = np.asarray(ours[kind](), np.float32), next(iter(theirs[kind].values()))().float().cpu().numpy()
            agree(name, *answers, TOLERANCES[dtype])
        times = interleave({**theirs[kind], "vidjax": ours[kind]}, repeats)
        mine = times.pop("vidjax")
        # PyTorch's better layout is the one with the smaller median.
        best = min(times.values(), key=lambda turns: statistics.median(wall for wall, _ in turns))
        ratios = [[a / b for a, b in zip(*turns, strict=True)] for turns in zip(mine, best, strict=True)]
        wall, processor = (statistics.median(values) for values in zip(*ratios, strict=True))
        target = f" ({wanted[kind]})" if wanted.get(kind) else ""
        print(
            f"| `{name}`, {batch}×{spec.video.num_frames}×{spec.video.size}² | {kind} | {_milliseconds(best)} | "
            f"{_milliseconds(mine)} | {wall:.2f}{target} | {f'{processor:.2f}' if device == 'cpu' else '–'} |",
            flush=True,
        )


def _milliseconds(turns: list[Turn]) -> str:
    walls = [wall * 1e3 for wall, _ in turns]
    return f"{statistics.median(walls):.0f} ({min(walls):.0f})"


def agree(name: str, ours, theirs, tolerance: float) -> None:
    """Ends the program unless both compute the same: the times would mean nothing."""
    import numpy as np

    # pytorchvideo's X3D gives probabilities.
    if np.allclose(theirs.sum(axis=1), 1, atol=10 * tolerance):
        ours = np.exp(ours) / np.exp(ours).sum(axis=1, keepdims=True)
    difference = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    if not difference < tolerance:
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


def torch_runs(
    name: str, network, video, *, device: str, dtype: str, compiled: bool
) -> dict[str, dict[str, Callable[[], object]]]:
    import copy

    import torch

    from tests.benchmarks.peers import network_input

    label = torch.arange(len(video), device=device)
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None

    def precision():
        return torch.autocast(device, torch.bfloat16) if dtype == "bfloat16" else contextlib.nullcontext()

    runs: dict[str, dict[str, Callable[[], object]]] = {FORWARD: {}, BACKWARD: {}}
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        model = copy.deepcopy(network).to(device=device, memory_format=layout)
        model = torch.compile(model) if compiled else model
        clip = torch.from_numpy(video).to(device).permute(0, 4, 1, 2, 3).contiguous(memory_format=layout)

        def forward(model=model, clip=clip):
            model.eval()
            with torch.inference_mode(), precision():
                logits = model(network_input(name, clip))
            wait()
            return logits

        def forward_backward(model=model, clip=clip):
            model.train()
            model.zero_grad()
            with precision():
                loss = torch.nn.functional.cross_entropy(model(network_input(name, clip)), label)
            loss.backward()
            wait()

        runs[FORWARD][str(layout)] = forward
        runs[BACKWARD][str(layout)] = forward_backward
    return runs


def jax_runs(model, video) -> dict[str, Callable[[], object]]:
    import jax
    import optax
    from flax import nnx

    from vidjax.models.state import merge, split

    label, video = jax.numpy.arange(len(video)), jax.device_put(video)
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
