"""The training steps of recipes on the accelerators of this machine, as rows for `accelerators.md`.

    python -m tests.benchmarks.accelerators [--out measured] [--recipes k400_i3d_r50 …] [--config.field=value …]

Runs `vidjax bench step` for each recipe, in a process of its own, with as many videos per device as `RECIPES` says, or,
where these do not fit the memory, half as many, and so on. Its JSON, plan's figures among it, stays in the folder.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

# Videos per device to begin with.
RECIPES = {
    "k400_i3d_r50": 32,
    "k400_slowfast_r50_8x8": 16,
    "k400_x3d_s": 64,
    "k400_videomae_base": 32,
    "k400_timesformer": 16,
    "k400_mvit_v2_s": 16,
    "k400_swin3d_t": 16,
}
HEADER = (
    "recipe", "videos per device", "step ms", "of Python ms", "clips/s", "MFU", "of the data sheet's", "GiB",
    "clips/s ÷ plan's", "÷ corrected", "GiB ÷ plan's", "compile s",
)  # fmt: skip
FULL = ("RESOURCE_EXHAUSTED", "out of memory", "Out of memory")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("measured"))
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    args, settings = parser.parse_known_args()
    args.out.mkdir(parents=True, exist_ok=True)
    # In a process that ends: one that goes on would keep the devices from the others.
    ask = [sys.executable, "-c", "import jax; print(jax.device_count())"]
    devices = int(subprocess.run(ask, stdout=subprocess.PIPE, check=True).stdout)
    failed = 0
    print(line(HEADER), line(["---"] * len(HEADER)), sep="\n", flush=True)
    for recipe in args.recipes:
        found = measure(recipe, RECIPES[recipe], devices, settings)
        if isinstance(found, str):
            failed += 1
            print(f"{recipe}: {found}", file=sys.stderr, flush=True)
            continue
        (args.out / f"{recipe}.json").write_text(json.dumps(found, indent=2) + "\n")
        print(line(cells(recipe, found)), flush=True)
    return int(failed > 0)


def measure(recipe: str, videos: int, devices: int, settings: list[str]) -> dict[str, Any] | str:
    """What `bench step` gives with `videos` per device, or as many as fit; or why there is nothing."""
    while True:
        command = [sys.executable, "-m", "vidjax", "bench", "step", "--json", f"--config=configs/{recipe}.py"]
        command += [f"--config.train.batch_size={videos * devices}", "--config.train.accumulate=1", *settings]
        done = subprocess.run(command, capture_output=True, text=True)
        if not done.returncode:
            return json.loads(done.stdout)
        if videos == 1 or not any(word in done.stderr for word in FULL):
            return (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        videos //= 2


def cells(recipe: str, found: dict[str, Any]) -> list[str]:
    """One row under `HEADER`; – where nothing is predicted or, as on GPUs, only one speed is."""
    seconds, compared = found["seconds"], found["plan"].get("compared", {})

    def ratio(what: str) -> str:
        return f"{compared[what]['ratio']:.2f}" if what in compared else "–"

    return [
        recipe,
        f"{found['batch_size'] / found['chips']:g}",
        f"{1e3 * seconds['step']:.1f}",
        f"{1e3 * seconds['host']:.2f}",
        f"{found['clips_per_s']:.1f}",
        f"{100 * found['mfu']:.1f} %",
        f"{100 * compared['mfu']['measured']:.1f} %" if compared else "–",
        f"{found['memory']['total'] / 2**30:.2f}",
        ratio("clips_per_s"),
        ratio("clips_per_s_corrected"),
        ratio("memory"),
        f"{seconds['compile']:.0f}",
    ]


def line(row: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(row)} |"


if __name__ == "__main__":
    sys.exit(main())
