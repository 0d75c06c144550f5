"""Time of video networks on CPU, side by side with the reference's: `python tests/benchmarks/models.py`.

Both run on the same number of threads in one process, in turns: the ratio is the median of the turns' ratios. Forward
is in evaluation mode, without gradients; forward and backward is a training step's cross-entropy and all parameter
gradients, in training mode. PyTorch runs in the faster one of its two memory layouts. Run it on an idle machine: other
work slows PyTorch's threads, which wait for each other at every layer, more than XLA's.

The reference is torchvision's network of that name or else pytorchvideo's, which is installed with --no-deps, beside
fvcore, iopath and what they ask for.

    --models r2plus1d_18 r3d_18   --batch 2   --frames 8   --size 112   --threads 2   --repeats 5   --pass forward
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

# Frames and size, where they are not those of the options' defaults: depthwise networks have fewer multiplications to
# a pixel, and are made for larger pictures; S3D averages 7×7 pixels of its last map, which smaller clips do not leave.
CLIPS = {"x3d_s": (13, 160), "x3d_m": (16, 224), "csn_r101": (8, 224), "s3d": (16, 224)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["r2plus1d_18", "r3d_18"])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--frames", type=int, default=0, help="0: 8, or what suits the model")
    parser.add_argument("--size", type=int, default=0, help="0: 112, or what suits the model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pass", dest="kinds", nargs="+", default=["forward", "forward+backward"])
    args = parser.parse_args()
    # XLA's thread pool has one thread per processor the process may run on.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])

    print("model         input            pass                torch      vidjax    ratio    ratio of processor time")
    for name in args.models:
        frames, size = CLIPS.get(name, (8, 112))
        shape = (args.batch, args.frames or frames, args.size or size)
        theirs, ours = torch_runs(name, shape, args.threads), jax_runs(name, shape)
        for kind in args.kinds:
            times = interleave({**theirs[kind], "jax": ours[kind]}, args.repeats)
            mine = times.pop("jax")
            # PyTorch's better layout is the one with the smaller median.
            best = min(times.values(), key=lambda turns: statistics.median(wall for wall, _ in turns))
            wall = statistics.median(wall for wall, _ in mine)
            ratios = [[a / b for a, b in zip(*pair, strict=True)] for pair in zip(mine, best, strict=True)]
            wall_ratio, processor_ratio = (statistics.median(values) for values in zip(*ratios, strict=True))
            best_wall = statistics.median(wall for wall, _ in best)
            clip = f"{shape[0]}×{shape[1]}×{shape[2]}²"
            print(
                f"{name:13} {clip:15} {kind:17} {best_wall * 1e3:7.0f} ms {wall * 1e3:8.0f} ms {wall_ratio:7.2f}x"
                f" {processor_ratio:10.2f}x",
                flush=True,
            )


Turn = tuple[float, float]  # seconds on the clock, and summed over processors


def interleave(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[Turn]]:
    """The turns of each, taken one after the other, so that a disturbance meets all."""
    for run in runs.values():
        run()
    times: dict[str, list[Turn]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter(), time.process_time()
            run()
            times[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return times


def reference(name: str):
    """The reference's network, with initial weights."""
    import torch

    # torchvision's wheel expects operators that a CPU-only torch lacks; declaring them is enough for its models.
    if "torchvision" not in sys.modules:
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for operator in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operator}", schema)
    import torchvision

    if build := getattr(torchvision.models.video, name, None):
        return build()
    if name == "csn_r101":
        from pytorchvideo.models.csn import create_csn

        # The hub's averages over four frames at the end, which takes clips of 32.
        return create_csn(model_depth=101, stem_pool=torch.nn.MaxPool3d, head_pool_kernel_size=(1, 7, 7))
    from pytorchvideo.models import hub

    return getattr(hub, name)(pretrained=False)


def torch_runs(name: str, shape: tuple[int, int, int], threads: int) -> dict[str, dict[str, Callable[[], object]]]:
    import torch

    batch, frames, size = shape
    torch.set_num_threads(threads)
    label = torch.arange(batch)
    runs: dict[str, dict[str, Callable[[], object]]] = {"forward": {}, "forward+backward": {}}
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        model = reference(name).to(memory_format=layout)
        video = torch.randn(batch, 3, frames, size, size).to(memory_format=layout)
        # The slow pathway's frames.
        if name.startswith("slowfast"):
            slow = torch.linspace(0, frames - 1, frames // 4).long()
            clip = lambda video=video, slow=slow: [video.index_select(2, slow), video]  # noqa: E731
        else:
            clip = lambda video=video: video  # noqa: E731

        def forward(model=model, clip=clip):
            model.eval()
            with torch.no_grad():
                return model(clip())

        def forward_backward(model=model, clip=clip):
            model.train()
            model.zero_grad()
            torch.nn.functional.cross_entropy(model(clip()), label).backward()

        runs["forward"][str(layout)] = forward
        runs["forward+backward"][str(layout)] = forward_backward
    return runs


def jax_runs(name: str, shape: tuple[int, int, int]) -> dict[str, Callable[[], object]]:
    import jax
    import optax
    from flax import nnx

    from vidjax.models import create_model
    from vidjax.models.state import merge, split

    batch, frames, size = shape
    model = create_model(name)
    video = jax.random.normal(jax.random.key(0), (batch, frames, size, size, 3))
    label = jax.numpy.arange(batch)
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
        "forward": lambda: jax.block_until_ready(forward(params, stats, video)),
        "forward+backward": lambda: jax.block_until_ready(forward_backward(params, stats, video)),
    }


if __name__ == "__main__":
    main()
