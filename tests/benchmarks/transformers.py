"""Forward time of video transformers on CPU beside torchvision's: `python tests/benchmarks/transformers.py`.

    --models swin3d_t mvit_v2_s   --batch 1   --threads 2   --repeats 5

torchvision's network gives the weights; both must answer alike before anything is timed. They run on the same number of
threads in one process, in turns, on the clip that the model is made for, float32; the ratio is the median of the turns'
ratios and at most 1.2 is wanted. PyTorch runs in the faster one of its two memory layouts. Run it on an idle machine:
other work slows PyTorch's threads, which wait for each other at every layer, more than XLA's.
"""

import argparse
import os
import statistics
import time

PEERS = {"swin3d_t": "swin3d_t", "swin3d_s": "swin3d_s", "mvit_v2_s": "mvit_v2_s", "mvit_v1_b_16x4": "mvit_v1_b"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=PEERS, default=["swin3d_t", "mvit_v2_s"])
    parser.add_argument("--batch", type=int, default=1, help="clips")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    # XLA's thread pool has one thread per processor the process may run on.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])

    import torch

    torch.set_num_threads(args.threads)
    print("model          clips             torch       vidjax   ratio   difference of the logits")
    for name in args.models:
        compare(name, args.batch, args.repeats)


def compare(name: str, batch: int, repeats: int) -> None:
    import jax
    import numpy as np
    import torch

    from vidjax import load_pretrained
    from vidjax.models.registry import get_spec
    from vidjax.models.state import merge, split

    spec, peer = get_spec(name), reference(PEERS[name])
    graphdef, *arrays = split(load_pretrained(name, peer.state_dict()))
    logits = jax.jit(lambda arrays, video: merge(graphdef, *arrays)(video))
    shape = (batch, spec.num_frames, spec.size, spec.size, 3)
    video = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    runs = {"vidjax": lambda: np.asarray(logits(arrays, video))}
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        model = reference(PEERS[name]).to(memory_format=layout)
        model.load_state_dict(peer.state_dict())
        clip = torch.from_numpy(video).permute(0, 4, 1, 2, 3).contiguous(memory_format=layout)

        def theirs(model=model, clip=clip):
            with torch.inference_mode():
                return model(clip).numpy()

        runs[str(layout)] = theirs
    ours, expected = runs["vidjax"](), runs[str(torch.contiguous_format)]()
    difference = np.linalg.norm(ours - expected) / np.linalg.norm(expected)
    if not difference < 1e-4:
        raise SystemExit(f"{name}: the logits differ by {difference:.1e}: the times mean nothing")

    turns = {label: [] for label in runs}
    for repeat in range(repeats + 1):
        for label, run in runs.items():
            start = time.perf_counter()
            run()
            if repeat:  # the first turn allocates
                turns[label].append(time.perf_counter() - start)
    mine = turns.pop("vidjax")
    best = min(turns.values(), key=statistics.median)
    ratio = statistics.median(a / b for a, b in zip(mine, best, strict=True))
    clips = f"{batch}×{spec.num_frames}×{spec.size}²"
    print(
        f"{name:14} {clips:12} {statistics.median(best) * 1e3:8.0f} ms {statistics.median(mine) * 1e3:9.0f} ms"
        f" {ratio:7.2f}   {difference:.1e}",
        flush=True,
    )


def reference(name: str):
    """torchvision's network in evaluation mode, with initial weights."""
    import torch

    # torchvision's wheel expects operators that a CPU-only torch lacks; declaring them is enough for its models.
    if not hasattr(torch.ops.torchvision, "nms"):
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for operator in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operator}", schema)
    import torchvision

    return getattr(torchvision.models.video, name)().eval()


if __name__ == "__main__":
    main()
