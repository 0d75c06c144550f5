"""What sound costs: CPU-seconds per training clip with and without it, and features against transformers.audio_utils.

    python -m tests.benchmarks.data.sound [--clips 60] [--turns 5] [--seconds 2.0] [--in-process]

Clips are 16 frames at stride 4, from a random start, cropped to 224², of the same files, read by turns with and without
the sound about them at 16 kHz; processor time, user and system, of the process and those that decode for it.
`--in-process`: decoded in threads instead of in processes that can be killed. The features are AST's filter bank, of
2 and of 10 s of sound, by turns on one thread; transformers computes as its feature extractor does without torchaudio.
Exits with 1 where a gate is missed: sound costs at most 10 % of the loader's processor time, and features are at least
as fast as those of transformers.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.benchmarks.data.files import benchmark_files
from tests.benchmarks.data.processor import cpu_seconds
from tests.sounds import chirp
from vidjax.config import DataConfig, ReadingConfig, Spec
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.records import Record
from vidjax.inputs import AudioInput, VideoInput
from vidjax.sound_features import features
from vidjax.spectrograms import SPECTROGRAMS

MOST, LEAST = 0.10, 1.0


def reading(files: list[str], clips: int, turns: int, seconds: float, isolate: bool) -> tuple[float, float]:
    """Median CPU-seconds per clip without and with sound."""
    config = DataConfig(reading=ReadingConfig(isolate=isolate))
    video = VideoInput(16, 4)
    inputs = {"without": {"video": video}, "with": {"video": video, "audio": AudioInput("ast", seconds)}}
    readers = {name: ExampleReader(Spec(name, each), config) for name, each in inputs.items()}
    spent: dict[str, list[float]] = {name: [] for name in readers}
    for turn in range(turns + 1):
        for name, reader in readers.items():
            begin = cpu_seconds()
            for clip in range(clips):
                reader.train(Record(files[clip % len(files)]), np.random.default_rng([turn, clip]))
            if turn:  # the first one starts processes
                spent[name].append((cpu_seconds() - begin) / clips)
    without, with_sound = (statistics.median(values) for values in spent.values())
    return without, with_sound


def transformers_features(wave: np.ndarray) -> Callable[[], np.ndarray]:
    from transformers import audio_utils

    bank = audio_utils.mel_filter_bank(
        257, 128, 20, 8000, 16_000, norm=None, mel_scale="kaldi", triangularize_in_mel_space=True
    )
    window = audio_utils.window_function(400, "hann", periodic=False)

    def compute() -> np.ndarray:
        return audio_utils.spectrogram(
            wave, window, 400, 160, 512, power=2.0, center=False, preemphasis=0.97, mel_filters=bank, log_mel="log",
            mel_floor=1.192092955078125e-07, remove_dc_offset=True,
        ).T  # fmt: skip

    return compute


def milliseconds(compute: Callable[[], object], repeats: int) -> float:
    begin = time.process_time()
    for _ in range(repeats):
        compute()
    return 1e3 * (time.process_time() - begin) / repeats


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=60, help="per turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of sound about a clip")
    parser.add_argument("--in-process", action="store_true")
    args = parser.parse_args()
    ok = True
    with tempfile.TemporaryDirectory() as folder:
        files = [str(f) for f in benchmark_files(Path(folder)) if Path(folder) not in f.parents]  # those with sound
        if files:
            without, with_sound = reading(files, args.clips, args.turns, args.seconds, not args.in_process)
            cost = with_sound / without - 1
            ok &= cost <= MOST
            print("| reading, ms per clip | with sound | sound costs |\n|---|---|---|")
            print(f"| {1e3 * without:.1f} | {1e3 * with_sound:.1f} | {100 * cost:.1f} % |\n")
        else:
            print("left out: no clips with sound in $VIDJAX_SHARED/data/clips")
    print("| sound | transformers, ms | vidjax, ms | ratio |\n|---|---|---|---|")
    for seconds in (2.0, 10.0):
        wave = chirp(16_000, seconds)
        ways = {"transformers": transformers_features(wave), "vidjax": lambda w=wave: features(w, SPECTROGRAMS["ast"])}
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(args.turns + 1):
            for name, compute in ways.items():
                times[name].append(milliseconds(compute, 5))
        theirs, ours = (statistics.median(values[1:]) for values in times.values())
        ok &= theirs / ours >= LEAST
        print(f"| {seconds:g} s | {theirs:.1f} | {ours:.1f} | {theirs / ours:.1f} |")
    return int(not ok)


if __name__ == "__main__":
    sys.exit(main())
