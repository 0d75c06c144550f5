"""CPU time of `videomae_base` beside the same network in PyTorch, on the same threads.

    python tests/benchmarks/videomae.py [--model videomae_base] [--batch 1] [--threads 2] [--repeats 5] [--backward]

Prints the best time of each and their ratio; at most 1.2 is wanted for the forward pass. PyTorch runs the fused
`scaled_dot_product_attention`. The two take turns, so that a busy machine slows both. Both compute the same logits
from the same weights, which is checked first.
"""

import argparse
import os
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="videomae_base")
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

    from vidjax.models.registry import get_variant
    from vidjax.models.state import merge, split

    torch.set_num_threads(args.threads)
    model, kwargs = _model(args.model), get_variant(args.model).kwargs
    graphdef, params, stats = split(model)
    peer = _torch_logits(params, **kwargs)
    weights = {name: _torch_layout(torch.from_numpy(np.array(value))) for name, value in params.items()}
    video = np.random.default_rng(0).standard_normal((args.batch, 16, 224, 224, 3)).astype(np.float32)
    clip = torch.from_numpy(video)

    forward = jax.jit(lambda params, video: merge(graphdef, params, stats)(video))
    gradient = jax.jit(jax.grad(lambda params, video: (merge(graphdef, params, stats)(video) ** 2).sum()))

    def torch_forward():
        with torch.inference_mode():
            return peer(weights, clip)

    def torch_gradient():
        leaves = {name: value.detach().requires_grad_() for name, value in weights.items()}
        (peer(leaves, clip) ** 2).sum().backward()
        return leaves

    ours, theirs = np.asarray(forward(params, video)), torch_forward().numpy()
    error = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    print(f"{args.model}, batch {args.batch}, {args.threads} threads; relative difference of the logits {error:.1e}")
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


def _model(name: str):
    from flax import nnx

    from vidjax.models.registry import get_variant

    variant = get_variant(name)
    model = variant.build(variant.spec.num_classes, rngs=nnx.Rngs(0), **variant.kwargs)
    model.eval()
    return model


def _torch_layout(weight):
    """I·O → O·I and T·H·W·I·O → O·I·T·H·W, contiguous."""
    order = {1: (0,), 2: (1, 0), 5: (4, 3, 0, 1, 2)}[weight.ndim]
    return weight.permute(order).contiguous()


def _torch_logits(params, *, dim: int, depth: int, heads: int):
    """The network as a PyTorch function `(weights, video) → logits`: names of vidjax, layouts of PyTorch."""
    import torch
    import torch.nn.functional as F

    from vidjax.nn.positions import sinusoid_table

    positions = torch.from_numpy(sinusoid_table(8 * 14 * 14, dim))

    def norm(w, name, x):
        return F.layer_norm(x, (dim,), w[f"{name}.scale"], w[f"{name}.bias"], 1e-6)

    def dense(w, name, x):
        return F.linear(x, w[f"{name}.kernel"], w[f"{name}.bias"])

    def logits(w, video):
        kernel = w["patch_embed.kernel"]
        x = F.conv3d(video.permute(0, 4, 1, 2, 3), kernel, w["patch_embed.bias"], stride=kernel.shape[2:])
        x = x.flatten(2).transpose(1, 2) + positions
        for i in range(depth):
            block = f"blocks.{i}"
            q_bias, v_bias = w[f"{block}.attn.q_bias"], w[f"{block}.attn.v_bias"]
            bias = torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])
            qkv = F.linear(norm(w, f"{block}.norm1", x), w[f"{block}.attn.qkv.kernel"], bias)
            q, k, v = qkv.unflatten(-1, (3, heads, dim // heads)).permute(2, 0, 3, 1, 4)
            x = x + dense(w, f"{block}.attn.proj", F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
            hidden = F.gelu(dense(w, f"{block}.mlp.fc1", norm(w, f"{block}.norm2", x)))
            x = x + dense(w, f"{block}.mlp.fc2", hidden)
        return dense(w, "head", norm(w, "fc_norm", x.mean(1)))

    return logits


if __name__ == "__main__":
    main()
