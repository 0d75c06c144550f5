"""Time of networks of videos and texts beside transformers': `python -m tests.benchmarks.text_video`.

Both have the same weights, drawn by transformers and checked by their similarities, and run on the same number of
threads in one process, in turns; the ratio is the median of the turns' ratios of processor time. A forward pass is a
batch of clips and of texts, with their similarities, in evaluation mode and without gradients. The clips are those
that the network is made for: 12 frames of CLIP, 8 of X-CLIP.

    --models clip_b32 xclip_b32   --clips 1   --texts 8   --threads 2   --repeats 5
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

WANTED = {"clip_b32": 1.1, "xclip_b32": 1.1}
TOLERANCE = 1e-4  # by which similarities may differ, relative to their length
_LENGTH = 77  # tokens of a text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(WANTED), choices=list(WANTED))
    parser.add_argument("--clips", type=int, default=1)
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])  # before XLA counts its threads
    print("| network | vidjax, s of processors | transformers, s | ratio (wanted) |\n|---|---|---|---|")
    missed = False
    for name in args.models:
        own, theirs = compare(name, args.clips, args.texts, args.threads, args.repeats)
        ratio = statistics.median(one / other for one, other in zip(own, theirs, strict=True))
        missed |= ratio > WANTED[name]
        times = f"{statistics.median(own):.2f} | {statistics.median(theirs):.2f}"
        print(f"| `{name}` | {times} | {ratio:.2f} ({WANTED[name]}) |", flush=True)
    raise SystemExit(int(missed))


def compare(name: str, clips: int, texts: int, threads: int, repeats: int) -> tuple[list[float], list[float]]:
    """Measure a network and transformers' with the same weights: seconds of processor time of each turn, of both.

    Args:
      name: name of the network, a key of `WANTED`.
      clips: number of clips of a batch.
      texts: number of texts.
      threads: number of threads of PyTorch's; XLA takes as many as there are processors.
      repeats: number of turns.
    """
    import numpy as np
    import torch

    from tests.golden import relative_error
    from vidjax.models import get_spec

    torch.set_num_threads(threads)
    rng, frames = np.random.default_rng(0), 12 if name == "clip_b32" else get_spec(name).video.num_frames
    video = rng.standard_normal((clips, frames, 224, 224, 3)).astype(np.float32)
    numbers = rng.integers(1000, 40000, (texts, _LENGTH)).astype(np.int32)
    numbers[:, 0], numbers[:, -1] = 49406, 49407
    reference, state = _reference(name, video, numbers)
    network = _network(name, state, video, numbers)
    difference = relative_error(network(), reference())
    if difference > TOLERANCE:
        raise SystemExit(f"{name}: similarities differ by {difference:.1e}")
    turns = [(seconds(network), seconds(reference)) for _ in range(repeats)]
    return [own for own, _ in turns], [theirs for _, theirs in turns]


def seconds(run: Callable[[], Any]) -> float:
    """Processor time of a call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def _network(name: str, state: dict[str, Any], video: Any, numbers: Any) -> Callable[[], Any]:
    """The network's similarities `(B, N)`, compiled."""
    import jax
    import numpy as np

    from vidjax.models.state import merge, split
    from vidjax.weights import load_pretrained

    graphdef, *arrays = split(load_pretrained(name, state))

    @jax.jit
    def run(arrays: Any, video: Any, numbers: Any) -> jax.Array:
        return merge(graphdef, *arrays).similarity(video, numbers)

    placed = jax.device_put((arrays, video, numbers))
    return lambda: np.asarray(run(*placed))


def _reference(name: str, video: Any, numbers: Any) -> tuple[Callable[[], Any], dict[str, Any]]:
    """The similarities `(B, N)` of transformers' network, and its weights."""
    import torch

    from tests.peers import transformers

    library = transformers()
    torch.manual_seed(0)
    ids = torch.from_numpy(numbers).long()
    pixels = torch.from_numpy(video).permute(0, 1, 4, 2, 3).contiguous()
    if name == "clip_b32":
        model = library.CLIPModel(library.CLIPConfig(vision_config={"patch_size": 32}, text_config={})).eval()

        def similarities() -> Any:
            out = model(input_ids=ids, pixel_values=pixels.flatten(0, 1))
            seen = out.image_embeds.unflatten(0, video.shape[:2]).mean(dim=1)
            seen = seen / seen.norm(dim=-1, keepdim=True)
            return model.logit_scale.exp() * seen @ out.text_embeds.T
    else:
        model = library.XCLIPModel(library.XCLIPConfig(vision_config={}, text_config={})).eval()

        def similarities() -> Any:
            return model(input_ids=ids, pixel_values=pixels).logits_per_video

    def run() -> Any:
        with torch.inference_mode():
            return similarities().numpy()

    return run, {key: array.numpy() for key, array in model.state_dict().items()}


if __name__ == "__main__":
    main()
