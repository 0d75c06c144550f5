"""Optical flow by a network: time of a pair, as a ratio to torchvision's network in the same run.

    python -m tests.benchmarks.flow [--name raft_small] [--height 256] [--width 344] [--threads 1]

Both have the same weights and the same number of updates; the least time of five runs in turn counts.
"""

import argparse
import time

import jax
import numpy as np

from tests.peers import needs, torchvision
from vidjax.weights.flow_networks import load_flow_network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="raft_small", choices=("raft_small", "raft_large"))
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=344)
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch (default: its own choice)")
    args = parser.parse_args()
    torch = needs("torch")
    torchvision()
    from torchvision.models import optical_flow

    if args.threads:
        torch.set_num_threads(args.threads)
    theirs = getattr(optical_flow, args.name)(weights=None).eval()
    network = load_flow_network(args.name, {key: tensor.numpy() for key, tensor in theirs.state_dict().items()})
    rng = np.random.default_rng(0)
    pair = [rng.uniform(-1, 1, (1, args.height, args.width, 3)).astype(np.float32) for _ in range(2)]
    tensors = [torch.tensor(picture.transpose(0, 3, 1, 2).copy()) for picture in pair]
    ours = jax.jit(lambda first, second: network.flow(first, second))
    flow = np.asarray(ours(*pair))
    times: dict[str, list[float]] = {"vidjax": [], "torchvision": []}
    with torch.inference_mode():
        wanted = theirs(*tensors)[-1].numpy().transpose(0, 2, 3, 1)
        for _ in range(5):
            for name, call in (
                ("vidjax", lambda: jax.block_until_ready(ours(*pair))),
                ("torchvision", lambda: theirs(*tensors)),
            ):
                started = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - started)
    best = {name: min(each) for name, each in times.items()}
    difference = np.linalg.norm(flow - wanted) / np.linalg.norm(wanted)
    found = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in best.items())
    ratio = best["vidjax"] / best["torchvision"]
    size = f"{args.height}×{args.width}"
    print(f"{args.name}, {size}: {found}, ratio {ratio:.2f}; relative difference {difference:.1e}")


if __name__ == "__main__":
    main()
