"""The command line: `vidjax COMMAND`, or python -m vidjax COMMAND."""

import argparse
import math
import sys

from vidjax.apps.command_parser import CommandParser
from vidjax.config import ConfigError, split_arguments

# Of the commands that have a config.
_SETTINGS = "--config.field=value changes any setting; `vidjax train --help` lists them."


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="vidjax", description="Train, evaluate and use networks for video.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    commands.add_parser("train", help="train a model: --config=RECIPE --workdir=FOLDER, as train.py", add_help=False)
    commands.add_parser("evaluate", help="evaluate a model: --workdir=FOLDER, as eval.py", add_help=False)
    predict = commands.add_parser("predict", help="classify video files with a trained model")
    predict.add_argument("checkpoint", help="work directory of a run, or a folder written by convert")
    predict.add_argument("videos", nargs="+", metavar="video", help="video file")
    predict.add_argument("--json", action="store_true", help="print JSON instead of a table")
    predict.add_argument("--top", type=_positive, default=5, help="classes shown per video (default: 5)")
    predict.add_argument("--num-clips", type=_positive, help="clips per video (default: as in the config)")
    crops = (1, 3, 5, 10)
    predict.add_argument("--num-crops", type=int, choices=crops, help="crops per clip (default: as in the config)")
    predict.add_argument("--step", type=int, help="checkpoint of this update (default: the best)")

    convert = commands.add_parser(
        "convert",
        help="turn another framework's checkpoint into a vidjax one, or back",
        usage="%(prog)s MODEL CHECKPOINT OUT [options]\n       %(prog)s --to FRAMEWORK RUN OUT [--step STEP]\n"
        "       %(prog)s --list",
    )
    convert.add_argument("model", nargs="?", help="name of the vidjax model, such as r2plus1d_18; with --to: the run")
    convert.add_argument(
        "checkpoint",
        nargs="?",
        help=".pth, .pt or .safetensors file, or a transformers folder; with --to: what to write",
    )
    convert.add_argument("out", nargs="?", help="new folder for the vidjax checkpoint")
    convert.add_argument("--from", dest="source", help="what wrote the file (default: recognised by its keys)")
    convert.add_argument("--to", metavar="FRAMEWORK", help="write RUN for users of torchvision, pytorchvideo, …")
    convert.add_argument("--step", type=int, help="with --to: checkpoint of this update (default: the best)")
    convert.add_argument(
        "--num-classes", type=_positive, help="classes of the new head, where the file's is not wanted"
    )
    convert.add_argument("--class-names", metavar="FILE", help="class names in the order of the head, one a line")
    convert.add_argument("--list", action="store_true", help="print the formats that can be read, and stop")
    models = commands.add_parser("models", help="list the models and what they cost, or the layers of one")
    models.add_argument("pattern", nargs="?", default="*", help="a name, or a pattern such as '*r50*' (default: all)")
    models.add_argument("--json", action="store_true", help="print JSON instead of a table")
    models.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    models.add_argument("--depth", type=int, default=2, help="of the layers listed for one model; 0: all (default: 2)")
    fuse = commands.add_parser("fuse", help="accuracy of several evaluated networks together, such as two streams")
    fuse.add_argument("runs", nargs="+", metavar="RUN", help="folder with the scores.npz of an evaluation")
    fuse.add_argument("--weights", nargs="+", type=float, metavar="W", help="of the networks (default: equal ones)")
    fuse.add_argument("--out", default="", help="folder for the fused scores.npz (default: none is written)")
    fuse.add_argument("--json", action="store_true", help="print JSON instead of a table")
    compare = commands.add_parser("compare", help="accuracy of evaluated runs side by side, as a table and a plot")
    compare.add_argument(
        "runs", nargs="+", metavar="RUN", help="work directory, or a folder of eval.py; different seeds go together"
    )
    compare.add_argument("--plot", help="file of the plot; '': none (default: compare.png; with --json none)")
    compare.add_argument(
        "--show", nargs="*", metavar="FIELD", help="settings to name beside the model (default: all that differ)"
    )
    compare.add_argument("--json", action="store_true", help="print JSON instead of a table")
    compare.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    _add_check(commands)
    _add_inspect(commands)
    _add_prepare(commands)
    _add_bench(commands)
    _add_plan(commands)
    return parser


def _add_check(commands: argparse._SubParsersAction) -> None:
    from vidjax.config.choices import DATASETS

    check = commands.add_parser(
        "check",
        help="look for missing, unreadable and too short videos of a data set",
        description="Finds videos that are missing, that do not open, whose first frame does not decode, or that end "
        "before their header says. With --config, or --num-frames and --stride or --fps, also those shorter than a "
        "clip. With --decode, also damage behind the first frame.",
        epilog=f"{_SETTINGS} What is given here comes before the config.",
    )
    check.add_argument(
        "data",
        nargs="?",
        help="CSV file, folder of classes, or published annotations (default: that of the config)",
    )
    check.add_argument(
        "--config", metavar="FILE", help="experiment, as for train.py: its data and the length of its clips"
    )
    check.add_argument("--eval", help="further CSV file, folder or annotations, for evaluation")
    check.add_argument("--root", help="folder with the videos (default: that of the annotations)")
    check.add_argument("--dataset", choices=DATASETS, help="whose annotations DATA are", metavar="NAME")
    check.add_argument("--split", type=_positive, help="official split of the data set (default: 1)")
    check.add_argument("--num-frames", type=_positive, help="frames per clip: finds videos that are shorter")
    check.add_argument("--stride", type=_positive, help="frames from one of the clip to the next (default: 1)")
    check.add_argument("--fps", type=_positive_float, help="frames per second of the clip, instead of a stride")
    check.add_argument("--decode", action="store_true", help="decode every frame: slow, and finds all damage")
    check.add_argument("--timeout", type=_positive_float, help="seconds for a stalled file (default: 60)")
    check.add_argument("--workers", type=_positive, help="videos at a time (default: the processor's cores)")
    check.add_argument("--out", default="check.csv", help="report, a line per video (default: check.csv)")


def _run_check(args: argparse.Namespace) -> int:
    from vidjax.apps.check_videos import Check, check, read_check
    from vidjax.config import DataConfig
    from vidjax.data.records import LABELS

    settings = args.settings
    places = {name: getattr(args, name) for name in ("eval", "root", "dataset", "split")}
    clip = {name: getattr(args, name) for name in ("num_frames", "stride", "fps", "timeout")}
    if settings:
        config, how, kinds = read_check(args.data, settings, decode=args.decode, **places, **clip)
    else:
        config = DataConfig(train=args.data or "", **{k: v for k, v in places.items() if v is not None})
        how = Check(decode=args.decode, **{k: v for k, v in clip.items() if v is not None})
        kinds = frozenset() if config.dataset else LABELS  # whatever a published data set has can be looked at
    return check(config, how, kinds=kinds, out=args.out, workers=args.workers or 0)


def _add_inspect(commands: argparse._SubParsersAction) -> None:
    inspect = commands.add_parser(
        "inspect",
        help="see and check what a training would make of a data set",
        description="Contact sheets of the clips that training and evaluation see, and checks of sampling and splits.",
        epilog=_SETTINGS,
    )
    inspect.add_argument("data", nargs="?", help="CSV file or folder (default: that of the config)")
    inspect.add_argument("--config", metavar="FILE", help="experiment, as for train.py (default: all defaults)")
    inspect.add_argument("--out", help="folder for the results (default: inspect/ and the name of the data)")
    inspect.add_argument("--json", action="store_true", help="print JSON instead of a table")
    inspect.add_argument("--videos", type=_positive, default=8, help="videos on each contact sheet (default: 8)")
    inspect.add_argument("--draws", type=_positive, default=2, help="training clips of each of them (default: 2)")
    inspect.add_argument(
        "--open", type=int, default=500, help="videos of each split that the checks open; 0: all (default: 500)"
    )


def _run_inspect(args: argparse.Namespace) -> int:
    from vidjax.apps.inspect import inspect

    return inspect(
        args.data,
        args.settings,
        out=args.out,
        as_json=args.json,
        num_videos=args.videos,
        num_draws=args.draws,
        num_opened=args.open,
    )


def _add_bench(commands: argparse._SubParsersAction) -> None:
    bench = commands.add_parser("bench", help="measure the input pipeline or the update of a training")
    what = bench.add_subparsers(dest="what", required=True, metavar="WHAT")
    epilog = _SETTINGS
    data = what.add_parser(
        "data",
        help="the input pipeline",
        description="Clips per second and core, where the time goes, and how many cores an accelerator needs.",
        epilog=epilog,
    )
    data.add_argument("--seconds", type=_positive_float, default=30.0, help="how long to measure (default: 30)")
    data.add_argument("--accelerator", type=str.lower, default="h100", help="what is to be fed (default: h100)")
    data.add_argument(
        "--accelerator-clips-per-s", type=_positive_float, metavar="CLIPS",
        help="that one of them takes, as measured in training (default: estimated from the model)",
    )  # fmt: skip
    data.add_argument("--mfu", type=_share, default=0.5, help="share of its peak, for the estimate (default: 0.5)")
    step = what.add_parser(
        "step",
        help="the update on the devices at hand",
        description="Clips per second, share of the measured peak, compile time and memory, on random clips, beside "
        "what `vidjax plan` predicts for these devices.",
        epilog=epilog,
    )
    step.add_argument("--updates", type=_positive, default=20, help="that are timed (default: 20)")
    step.add_argument("--num-classes", type=_positive, default=0, help="default: the data set's")
    step.add_argument("--data", action="store_true", help="also measure the wait for the config's input pipeline")
    for parser in (data, step):
        parser.add_argument("--config", metavar="FILE", help="experiment, as for train.py (default: all defaults)")
        parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _run_bench(args: argparse.Namespace) -> int:
    settings = args.settings
    if args.what == "step":
        from vidjax.apps.bench_step import bench_step

        return bench_step(
            settings, updates=args.updates, num_classes=args.num_classes, data=args.data, as_json=args.json
        )
    from vidjax.apps.bench import bench_data

    return bench_data(
        settings,
        seconds=args.seconds,
        accelerator=args.accelerator,
        accelerator_clips_per_s=args.accelerator_clips_per_s,
        mfu=args.mfu,
        as_json=args.json,
    )


def _add_plan(commands: argparse._SubParsersAction) -> None:
    plan = commands.add_parser(
        "plan",
        help="compile a training for a TPU slice, and estimate memory, speed and hours",
        description="Compiles the training step ahead of time for TPUs (the extra tpu, no TPU), or estimates for GPUs.",
        epilog=_SETTINGS,
    )
    plan.add_argument("--config", metavar="FILE", help="experiment, as for train.py (default: all defaults)")
    where = plan.add_mutually_exclusive_group(required=True)
    where.add_argument("--topology", default="", help="a slice: v4, v5e, v5p or v6e and its shape, as v5e:16x16")
    where.add_argument("--gpu", default="", help="GPUs and how many, as h200:8; an estimate without their compiler")
    what = plan.add_mutually_exclusive_group()
    what.add_argument("--search", action="store_true", help="try meshes, remat and batch sizes: the best that fit")
    what.add_argument("--scaling", action="store_true", help="8 to 512 devices, each with the same part of the batch")
    plan.add_argument("--most", type=_positive, help="settings that those two compile (default: 12)")
    plan.add_argument("--out", help="plot of --scaling (default: scaling.png)")
    plan.add_argument("--num-classes", type=_positive, default=0, help="default: the data set's")
    plan.add_argument("--num-videos", type=_positive, default=0, help="for training (default: counted)")
    plan.add_argument(
        "--clips-per-core", type=_positive_float, default=25.0,
        help="clips/s that a core of the hosts makes from mp4 files, as bench data measures (default: 25)",
    )  # fmt: skip
    plan.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _run_plan(args: argparse.Namespace) -> int:
    from vidjax.plan.forecast import plan

    if (args.most and not (args.search or args.scaling)) or (args.out and not args.scaling):
        raise ConfigError("--most is for --search and --scaling, and --out for --scaling")
    return plan(
        args.settings,
        topology=args.topology,
        gpu=args.gpu,
        num_classes=args.num_classes,
        num_videos=args.num_videos,
        clips_per_core=args.clips_per_core,
        search=args.search,
        scaling=args.scaling,
        most=args.most or 12,
        out=args.out or "scaling.png",
        as_json=args.json,
    )


def _add_prepare(commands: argparse._SubParsersAction) -> None:
    from vidjax.config.choices import DATASETS

    prepare = commands.add_parser("prepare", help="write a data set as shards for fast random access")
    prepare.add_argument("data", help="CSV file, folder with one sub-folder per class, or published annotations")
    prepare.add_argument("out", help="new folder; its last part, in a-z, 0-9 and _, is the name of the data set")
    prepare.add_argument("--eval", default="", help="the same for evaluation (default: as in training)")
    prepare.add_argument("--root", default="", help="folder with the videos (default: that of the annotations)")
    prepare.add_argument("--dataset", default="", choices=DATASETS, help="whose annotations DATA are", metavar="NAME")
    prepare.add_argument("--split", type=_positive, default=1, help="official split of the data set (default: 1)")
    prepare.add_argument("--seed", type=int, default=0, help="decides what is held out, as config.seed (default: 0)")
    prepare.add_argument("--eval-share", type=float, default=0.2, help="share held out, if nothing else is given")
    prepare.add_argument("--folder-fps", type=float, default=0.0, help="frames per second of folders of images")
    prepare.add_argument("--jpeg", action="store_true", help="store JPEG frames (default: the files as they are)")
    prepare.add_argument("--short-side", type=int, default=256, help="of JPEG frames, pixels; 0: full (default: 256)")
    prepare.add_argument("--quality", type=_quality, default=75, help="of JPEG frames, 1-100 (default: 75)")
    prepare.add_argument("--workers", type=_positive, help="processes that encode (default: the processor's cores)")
    prepare.add_argument("--shard-mb", type=_positive, help="megabytes per shard (default: 256)")
    prepare.add_argument(
        "--beam", action="append", metavar="OPTION", help="use Beam, such as --beam runner=DirectRunner; repeatable"
    )


def _run_prepare(args: argparse.Namespace) -> int:
    from vidjax.apps.prepare import prepare
    from vidjax.config import Config, DataConfig
    from vidjax.data.prepared.encode import Encoding

    data = DataConfig(train=args.data, eval=args.eval, root=args.root, dataset=args.dataset, split=args.split)
    data.eval_share, data.folder_fps = args.eval_share, args.folder_fps
    return prepare(
        Config(seed=args.seed, data=data),
        args.out,
        Encoding(args.jpeg, max(args.short_side, 0), args.quality),
        num_workers=args.workers,
        beam=args.beam,
        shard_mb=args.shard_mb,
    )


def _quality(text: str) -> int:
    if not 1 <= (value := int(text)) <= 100:
        raise argparse.ArgumentTypeError(f"{text} does not lie in 1-100")
    return value


def _share(text: str) -> float:
    if not 0 < (value := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"{text} does not lie in 0-1")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _positive_float(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status. Nothing heavy is imported before the arguments are known to be
    right."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in ("train", "evaluate"):  # which have a parser of their own
        if argv[0] == "train":
            from vidjax.apps.train_command import main as run
        else:
            from vidjax.apps.evaluate_command import main as run
        run([f"vidjax {argv[0]}", *argv[1:]])
    parser = _parser()
    settings, configured = [], bool(argv) and argv[0] in ("check", "inspect", "bench", "plan")
    if configured:
        try:
            settings, argv = split_arguments(argv)
        except ConfigError as error:
            sys.exit(f"error: {error}")
    args, wrong = parser.parse_known_args(argv)
    args.settings = settings
    if wrong:
        hint = " (settings are --config.field=value)" if configured else ""
        parser.error(f"unrecognized arguments: {' '.join(wrong)}{hint}")
    if args.command == "convert" and args.to:
        if args.checkpoint is None or args.out is not None or args.source or args.num_classes or args.class_names:
            parser.error("convert: --to FRAMEWORK takes RUN OUT and --step alone")
    elif args.command == "convert" and not args.list and (args.out is None or args.step is not None):
        parser.error("convert: give MODEL CHECKPOINT OUT, --to FRAMEWORK RUN OUT, or --list")
    from vidjax.apps.user_errors import explain

    return explain(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    if args.command == "predict":
        from vidjax.apps.predict import predict

        return predict(
            args.checkpoint,
            args.videos,
            top=args.top,
            as_json=args.json,
            num_clips=args.num_clips,
            num_crops=args.num_crops,
            step=args.step,
        )
    if args.command == "check":
        return _run_check(args)
    if args.command == "inspect":
        return _run_inspect(args)
    if args.command == "bench":
        return _run_bench(args)
    if args.command == "plan":
        return _run_plan(args)
    if args.command == "prepare":
        return _run_prepare(args)
    if args.command == "fuse":
        from vidjax.apps.fuse import fuse_runs

        return fuse_runs(args.runs, weights=args.weights, out=args.out, as_json=args.json)
    if args.command == "compare":
        from vidjax.apps.compare import compare

        return compare(args.runs, plot=args.plot, show=args.show, as_json=args.json, markdown=args.markdown)
    if args.command == "models":
        from vidjax.apps.models import models

        return models(args.pattern, as_json=args.json, markdown=args.markdown, depth=args.depth)
    from vidjax.apps.convert import convert, convert_back, list_sources

    if args.list:
        return list_sources()
    if args.to:
        return convert_back(args.model, args.checkpoint, args.to, step=args.step)
    return convert(
        args.model,
        args.checkpoint,
        args.out,
        source=args.source,
        num_classes=args.num_classes,
        class_names=args.class_names,
    )


if __name__ == "__main__":
    sys.exit(main())
