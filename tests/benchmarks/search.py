"""Speed of exact search, and what usearch's graph finds of it, on clustered vectors of the size of a large collection.

    python -m tests.benchmarks.search [--count 1000000] [--width 256] [--graph 20000]

Vectors are drawn around 1,000 centres, as those of videos of a few hundred classes are. Prints the milliseconds of one
query and of 64 at a time among all vectors, and, for the first `--graph` of them, the seconds to build the graph, the
milliseconds of a query and the recall of the 10 nearest, with usearch's own settings and with ours.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from vidjax.embeddings import approximate
from vidjax.embeddings.exact import exact_search
from vidjax.embeddings.index import Index, Origin, Video

_CENTRES, _SPREAD = 1000, 0.7


def draw(count: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((_CENTRES, width), np.float32)
    vectors = centres[rng.integers(0, _CENTRES, count)]
    for start in range(0, count, 100_000):
        part = vectors[start : start + 100_000]
        part += _SPREAD * rng.standard_normal(part.shape, np.float32)
    return vectors


def seconds(call, times: int = 3) -> float:
    call()  # compiles
    begin = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - begin) / times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--graph", type=int, default=20_000)
    args = parser.parse_args()
    vectors = draw(args.count, args.width)
    queries = draw(64, args.width)
    print(f"{args.count} vectors of {args.width} numbers, the 10 nearest")
    for number in (1, 64):
        taken = seconds(lambda number=number: exact_search(vectors, queries[:number], 10))
        print(f"exact: {1000 * taken:.0f} ms for {number} at a time")
    few = vectors[: args.graph]
    origin = Origin("drawn", "", None, "0", "", {}, {}, "clip", args.width)
    times = np.zeros(len(few))
    own = (approximate.CONNECTIVITY, approximate.EXPANSION_ADD, approximate.EXPANSION_SEARCH)
    for title, settings in (("usearch's settings", (16, 128, 64)), ("ours", own)):
        approximate.CONNECTIVITY, approximate.EXPANSION_ADD, approximate.EXPANSION_SEARCH = settings
        with tempfile.TemporaryDirectory() as folder:
            index = Index(Path(folder), origin, (Video("all"),), (), times.astype(np.int64), times, times, few)
            begin = time.perf_counter()
            approximate.approximate_search(index, queries[:1], 10)
            built = time.perf_counter() - begin
            taken = seconds(lambda index=index: approximate.approximate_search(index, queries, 10)) / 64
            found = approximate.recall(index)
        told = f"built in {built:.0f} s, {1000 * taken:.2f} ms a query, recall {found:.3f}"
        print(f"graph of {len(few)}, {title}: {told}")


if __name__ == "__main__":
    main()
