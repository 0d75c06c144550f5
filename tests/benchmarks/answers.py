"""Time of generated texts beside transformers', and of captions' scores: `python -m tests.benchmarks.answers`.

Networks have the same weights, drawn by transformers, and must say the same words; both run on the same number of
threads in one process, in turns; the ratio is the median of the turns' ratios of processor time. A row of GIT is a clip
of six frames and 20 words after it, pictures included. A row of SmolVLM2 is the time of the words alone, after a prompt
of `--frames` frames: of a text of them less that of its first word. Scores are BLEU-1 to 4, ROUGE-L and CIDEr-D of made
captions of MSR-VTT's size, ours with the words' separation, pycocoevalcap's without (it runs in Java there).

    --rows git_base smolvlm2_256m scores   --words 32   --frames 2   --videos 2990   --threads 2   --repeats 5

needs transformers, and for `scores` pycocoevalcap (`pip install --no-deps pycocoevalcap`).
"""

import argparse
import os
import statistics
from collections.abc import Callable
from typing import Any

from tests.benchmarks.text_video import seconds

WANTED = {"git_base": 1.0, "smolvlm2_256m": 1.0, "scores": 1.0}
Run = Callable[[], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=list(WANTED), choices=list(WANTED))
    parser.add_argument("--words", type=int, default=32)
    parser.add_argument("--frames", type=int, default=2)
    parser.add_argument("--videos", type=int, default=2990)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])  # before XLA counts its threads
    print("| row | vidjax, s of processors | peer, s | ratio (wanted) |\n|---|---|---|---|")
    missed = False
    for row in args.rows:
        own, theirs = turns(row, args)
        ratio = statistics.median(one / other for one, other in zip(own, theirs, strict=True))
        missed |= ratio > WANTED[row]
        times = f"{statistics.median(own):.2f} | {statistics.median(theirs):.2f}"
        rate = f", {args.words / statistics.median(own):.1f} words a second" if row == "smolvlm2_256m" else ""
        print(f"| `{row}`{rate} | {times} | {ratio:.2f} ({WANTED[row]}) |", flush=True)
    raise SystemExit(int(missed))


def turns(row: str, args: argparse.Namespace) -> tuple[list[float], list[float]]:
    """Measure a row: seconds of processor time of each turn, of ours and of the peer."""
    if row == "scores":
        own, theirs = scores(args.videos)
        pairs = [(seconds(own), seconds(theirs)) for _ in range(args.repeats)]
    elif row == "git_base":
        own, theirs = git(args.threads)
        need_same_words(row, own(20), theirs(20))
        pairs = [(seconds(lambda: own(20)), seconds(lambda: theirs(20))) for _ in range(args.repeats)]
    else:
        own, theirs = smolvlm(args.frames, args.threads)
        need_same_words(row, own(1 + args.words), theirs(1 + args.words))
        own(1)
        pairs = [(rest(own, args.words), rest(theirs, args.words)) for _ in range(args.repeats)]
    return [one for one, _ in pairs], [other for _, other in pairs]


def rest(run: Callable[[int], Any], words: int) -> float:
    """Seconds of the words after the first."""
    return seconds(lambda: run(1 + words)) - seconds(lambda: run(1))


def need_same_words(row: str, own: Any, theirs: Any) -> None:
    """Stop if two networks say different words."""
    if own.tolist() != theirs.tolist():
        raise SystemExit(f"{row}: the words differ: {own.tolist()} and {theirs.tolist()}")


def git(threads: int) -> tuple[Callable[[int], Any], Callable[[int], Any]]:
    """GIT and transformers' GIT: from a number of words to these of a clip of six frames."""
    import numpy as np

    from tests.peers import transformers

    library = transformers()
    video = np.random.default_rng(0).standard_normal((1, 6, 224, 224, 3)).astype(np.float32)
    model = drawn(lambda: library.GitForCausalLM(library.GitConfig(num_image_with_embedding=6)), threads)
    ids = np.full((1, 1), 101, np.int32)
    return ours("git_base", model, video, ids), peer(model, video, ids)


def smolvlm(frames: int, threads: int) -> tuple[Callable[[int], Any], Callable[[int], Any]]:
    """SmolVLM2-256M and transformers': from a number of words to these, after frames and 16 words."""
    import numpy as np

    from tests.peers import transformers

    library, rng = transformers(), np.random.default_rng(0)
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
              "image_size": 512, "patch_size": 16}  # fmt: skip
    text = {"model_type": "llama", "vocab_size": 49280, "hidden_size": 576, "intermediate_size": 1536,
            "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "rms_norm_eps": 1e-5,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e5}, "pad_token_id": 2}  # fmt: skip
    config = library.SmolVLMConfig(vision_config=vision, text_config=text, scale_factor=4, image_token_id=49190)
    model = drawn(lambda: library.SmolVLMForConditionalGeneration(config), threads)
    video = rng.standard_normal((1, frames, 512, 512, 3)).astype(np.float32)
    before, after = rng.integers(10, 40000, (2, 1, 8))
    ids = np.concatenate([before, np.full((1, 64 * frames), 49190), after], axis=1).astype(np.int32)
    return ours("smolvlm2_256m", model, video, ids), peer(model, video, ids)


def drawn(build: Callable[[], Any], threads: int) -> Any:
    """A network of transformers with drawn weights, that answers without ending."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = build().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    model.generation_config.eos_token_id = None
    return model


def ours(name: str, model: Any, video: Any, ids: Any) -> Callable[[int], Any]:
    """The words that a network with these weights says."""
    import jax
    import numpy as np

    from vidjax.models.state import merge, split
    from vidjax.nn.generation import Decoding
    from vidjax.weights import load_pretrained

    state = {key: array.numpy() for key, array in model.state_dict().items()}
    graphdef, *arrays = split(load_pretrained(name, state))

    def answer(arrays: Any, video: Any, ids: Any, length: int) -> jax.Array:
        network: Any = merge(graphdef, *arrays)
        tokens = getattr(network.encode(video), network.head.sees)
        return network.head.answer(tokens, ids, ids >= 0, Decoding(length), end=-1)

    compiled, placed = jax.jit(answer, static_argnums=3), jax.device_put((arrays, video, ids))
    return lambda length: np.asarray(compiled(*placed, length))


def peer(model: Any, video: Any, ids: Any) -> Callable[[int], Any]:
    """The words that transformers' network says."""
    import torch

    pixels = torch.from_numpy(video).permute(0, 1, 4, 2, 3).contiguous()
    given = torch.from_numpy(ids).long()

    def run(length: int) -> Any:
        with torch.inference_mode():
            said = model.generate(
                input_ids=given, attention_mask=torch.ones_like(given), pixel_values=pixels, max_new_tokens=length,
                do_sample=False, pad_token_id=0,
            )  # fmt: skip
        return said[:, given.shape[1] :].numpy()

    return run


def scores(videos: int) -> tuple[Run, Run]:
    """Scores of made captions by vidjax and by pycocoevalcap, which must agree."""
    import numpy as np

    from tests.peers import needs
    from vidjax.evaluation.captions import caption_scores

    needs("pycocoevalcap")
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    rng = np.random.default_rng(0)
    words = np.array([f"{a}{b}{c}" for a in "bdfgklmn" for b in "aeiou" for c in "lmnrst"])
    chance = 1 / np.arange(1, len(words) + 1)

    def sentence() -> str:
        return " ".join(rng.choice(words, rng.integers(6, 14), p=chance / chance.sum()))

    said, references = [sentence() for _ in range(videos)], [[sentence() for _ in range(20)] for _ in range(videos)]

    def theirs() -> dict[str, float]:
        wanted, given = dict(enumerate(references)), {number: [text] for number, text in enumerate(said)}
        bleu = Bleu(4).compute_score(wanted, given, verbose=0)[0]
        figures = {f"bleu{n}": value for n, value in enumerate(bleu, start=1)}
        return figures | {
            "rouge_l": float(Rouge().compute_score(wanted, given)[0]),
            "cider": float(Cider().compute_score(wanted, given)[0]),
        }

    def own() -> dict[str, float]:
        return caption_scores(said, references).figures()

    found, expected = own(), theirs()
    if other := [name for name, value in expected.items() if abs(found[name] - value) > 1e-6]:
        raise SystemExit(f"{', '.join(other)} differ: {found} and {expected}")
    return own, theirs


if __name__ == "__main__":
    main()
