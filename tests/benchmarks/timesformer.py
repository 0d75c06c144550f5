"""CPU time of `timesformer_base_divided` beside the same network in PyTorch, on the same threads.

    python tests/benchmarks/timesformer.py [--batch 1] [--threads 2] [--repeats 5] [--backward]

Prints the best time of each and their ratio; at most 1.2 is wanted for the forward pass. PyTorch runs the fused
`scaled_dot_product_attention`, on tokens laid out as in the reference code. The two take turns, so that a busy machine
slows both. Both compute the same logits from the same weights, which is checked first.
"""

import argparse
import os
import time

HEADS, DEPTH, DIM, FRAMES, SIDE = 12, 12, 768, 8, 14


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=1, help="clips")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--backward", action="store_true", help="time forward + backward as well")
    args = parser.parse_args()
    # XLA's CPU thread pool takes the number of cores that the process may run on.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])

    import jax
    import numpy as np
    import torch

    from vidjax.models import create_model
    from vidjax.models.state import merge, split

    torch.set_num_threads(args.threads)
    graphdef, params, stats = split(create_model("timesformer_base_divided"))
    rng = np.random.default_rng(0)
    # What starts at 0 would hide a mistake.
    params = {
        path: value if np.asarray(value).any() else 0.02 * rng.standard_normal(value.shape).astype(np.float32)
        for path, value in params.items()
    }
    weights = {name: _torch_layout(torch.from_numpy(np.array(value))) for name, value in params.items()}
    video = rng.standard_normal((args.batch, FRAMES, 16 * SIDE, 16 * SIDE, 3)).astype(np.float32)
    clip = torch.from_numpy(video)

    forward = jax.jit(lambda params, video: merge(graphdef, params, stats)(video))
    gradient = jax.jit(jax.grad(lambda params, video: (merge(graphdef, params, stats)(video) ** 2).sum()))

    def torch_forward():
        with torch.inference_mode():
            return _torch_logits(weights, clip)

    def torch_gradient():
        leaves = {name: value.detach().requires_grad_() for name, value in weights.items()}
        (_torch_logits(leaves, clip) ** 2).sum().backward()
        return leaves

    ours, theirs = np.asarray(forward(params, video)), torch_forward().numpy()
    error = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    print(f"batch {args.batch}, {args.threads} threads; relative difference of the logits {error:.1e}")
    if error > 1e-4:
        raise SystemExit("the two networks do not compute the same: the times mean nothing")
    cases = [("forward", lambda: jax.block_until_ready(forward(params, video)), torch_forward)]
    if args.backward:
        cases.append(("forward+backward", lambda: jax.block_until_ready(gradient(params, video)), torch_gradient))
    for name, *runs in cases:
        best = [float("inf")] * 2
        for repeat in range(args.repeats + 1):
            for i, run in enumerate(runs):
                start = time.perf_counter()
                run()
                if repeat:  # the first turn compiles and allocates
                    best[i] = min(best[i], time.perf_counter() - start)
        print(f"{name}: vidjax {best[0]:.3f} s, PyTorch {best[1]:.3f} s, ratio {best[0] / best[1]:.2f}")


def _torch_layout(weight):
    """I·O → O·I and 1·H·W·I·O → O·I·H·W, contiguous."""
    if weight.ndim == 5:
        return weight[0].permute(3, 2, 0, 1).contiguous()
    return weight.T.contiguous() if weight.ndim == 2 else weight


def _torch_logits(w, video):
    """The network as a PyTorch function: names of vidjax, layouts of PyTorch, tokens in h, w, t order."""
    import torch
    import torch.nn.functional as F
    from einops import rearrange

    batch, frames = video.shape[:2]

    def norm(name, x):
        return F.layer_norm(x, (DIM,), w[f"{name}.scale"], w[f"{name}.bias"], 1e-6)

    def dense(name, x):
        return F.linear(x, w[f"{name}.kernel"], w[f"{name}.bias"])

    def attention(name, x):
        q, k, v = dense(f"{name}.qkv", x).unflatten(-1, (3, HEADS, DIM // HEADS)).permute(2, 0, 3, 1, 4)
        return dense(f"{name}.proj", F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    pixels = rearrange(video, "b t h w c -> (b t) c h w")
    x = F.conv2d(pixels, w["patch_embed.kernel"], w["patch_embed.bias"], stride=16).flatten(2).transpose(1, 2)
    x = rearrange(x + w["pos_embed"][:, 1:], "(b t) p d -> b p t d", t=frames) + w["time_embed"][:, None]
    first = (w["cls_token"] + w["pos_embed"][:, :1]).expand(batch, -1, -1)
    x = rearrange(x, "b p t d -> b (p t) d")
    for i in range(DEPTH):
        block = f"blocks.{i}"
        over_time = rearrange(x, "b (p t) d -> (b p) t d", t=frames)
        step = f"{block}.earlier.0"
        change = dense(f"{step}.fc", attention(f"{step}.attn", norm(f"{step}.norm", over_time)))
        x = x + rearrange(change, "(b p) t d -> b (p t) d", b=batch)
        places = rearrange(x, "b (p t) d -> (b t) p d", t=frames)
        tokens = torch.cat([first.repeat_interleave(frames, dim=0), places], dim=1)
        change = attention(f"{block}.attn", norm(f"{block}.norm1", tokens))
        token = change[:, :1].unflatten(0, (batch, frames)).mean(1)
        x = torch.cat([first, x], 1) + torch.cat(
            [token, rearrange(change[:, 1:], "(b t) p d -> b (p t) d", b=batch)], 1
        )
        x = x + dense(f"{block}.mlp.fc2", F.gelu(dense(f"{block}.mlp.fc1", norm(f"{block}.norm2", x))))
        first, x = x[:, :1], x[:, 1:]
    return dense("head", norm("norm", first[:, 0]))


if __name__ == "__main__":
    main()
