"""Command line: `vidjax COMMAND`, or python -m vidjax COMMAND."""

import argparse
import math
import sys

from vidjax.apps import score_command
from vidjax.apps.command_parser import CommandParser
from vidjax.config import ConfigError, split_arguments

# End of the help of commands with a config.
_SETTINGS = "--config.field=value changes any setting; `vidjax train --help` lists them."


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="vidjax", description="Train, evaluate and use networks for video.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    commands.add_parser("train", help="train a model, like train.py: --config=RECIPE --workdir=FOLDER", add_help=False)
    help_text = "evaluate a model, like eval.py: --workdir=FOLDER; or files: segments, boxes, tubes, labels, frames"
    commands.add_parser("evaluate", help=help_text, add_help=False)
    predict = commands.add_parser("predict", help="classify video files with a trained model")
    predict.add_argument("checkpoint", help="work directory of a run, or folder written by convert")
    predict.add_argument("videos", nargs="+", metavar="video", help="video file")
    predict.add_argument("--json", action="store_true", help="print JSON instead of a table")
    predict.add_argument("--top", type=_positive, default=5, help="classes shown per video (default: 5)")
    predict.add_argument("--num-clips", type=_positive, help="clips per video (default: as in the config)")
    crops = (1, 3, 5, 10)
    predict.add_argument("--num-crops", type=int, choices=crops, help="crops per clip (default: as in the config)")
    predict.add_argument("--step", type=int, help="update number of the checkpoint to use (default: the best)")

    convert = commands.add_parser(
        "convert",
        help="convert another framework's checkpoint into a vidjax one, or back",
        usage="%(prog)s MODEL CHECKPOINT OUT [options]\n       %(prog)s --to FRAMEWORK RUN OUT [--step STEP]\n"
        "       %(prog)s --list",
    )
    convert.add_argument("model", nargs="?", help="name of the vidjax model, such as r2plus1d_18; with --to: the run")
    convert.add_argument(
        "checkpoint",
        nargs="?",
        help=".pth, .pt or .safetensors file, or a transformers folder; with --to: the file or folder to write",
    )
    convert.add_argument("out", nargs="?", help="new folder for the vidjax checkpoint")
    convert.add_argument("--from", dest="source", help="source of the file, see --list (default: by its keys)")
    convert.add_argument("--to", metavar="FRAMEWORK", help="write RUN as a checkpoint of torchvision, pytorchvideo, …")
    convert.add_argument("--step", type=int, help="with --to: number of the update to convert (default: the best)")
    convert.add_argument(
        "--num-classes", type=_positive, help="number of classes of a new head (default: keep the checkpoint's head)"
    )
    convert.add_argument("--class-names", metavar="FILE", help="file of class names in head order, one per line")
    convert.add_argument("--list", action="store_true", help="print the sources that can be read or written, and exit")
    models = commands.add_parser("models", help="list the models and their costs, or the layers of one model")
    models.add_argument("pattern", nargs="?", default="*", help="name or pattern, such as '*r50*' (default: all)")
    models.add_argument("--json", action="store_true", help="print JSON instead of a table")
    models.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    models.add_argument("--depth", type=int, default=2, help="depth of the layers of one model; 0: all (default: 2)")
    fuse = commands.add_parser("fuse", help="accuracy of several evaluated networks combined, such as two streams")
    fuse.add_argument("runs", nargs="+", metavar="RUN", help="folder with the scores.npz of an evaluation")
    fuse.add_argument("--weights", nargs="+", type=float, metavar="W", help="weights of the networks (default: equal)")
    fuse.add_argument("--out", default="", help="folder for the fused scores.npz (default: not written)")
    fuse.add_argument("--json", action="store_true", help="print JSON instead of a table")
    compare = commands.add_parser("compare", help="compare the accuracies of evaluated runs, in a table and a plot")
    compare.add_argument(
        "runs", nargs="+", metavar="RUN", help="work directory, or folder of eval.py; seeds are averaged"
    )
    compare.add_argument("--plot", help="file for the plot; '': none (default: compare.png, or none with --json)")
    compare.add_argument(
        "--show", nargs="*", metavar="FIELD", help="settings to list beside the model (default: all that differ)"
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
        help="find missing, unreadable and too short videos of a data set",
        description="Find videos that are missing, that do not open, whose first frame does not decode, or that end "
        "before their header says. With --config, or --num-frames and --stride or --fps, also find those shorter than "
        "a clip. With --decode, also find damage after the first frame.",
        epilog=f"{_SETTINGS} The options above override the config.",
    )
    check.add_argument(
        "data",
        nargs="?",
        help="CSV file, folder of classes, or published annotations (default: that of the config)",
    )
    check.add_argument("--config", metavar="FILE", help="experiment, as for train.py, for data and clip length")
    check.add_argument("--eval", help="CSV file, folder or annotations for evaluation, checked as well")
    check.add_argument("--root", help="folder with the videos (default: that of the annotations)")
    check.add_argument("--dataset", choices=DATASETS, help="published data set of the annotations", metavar="NAME")
    check.add_argument("--split", type=_positive, help="official split of the data set (default: 1)")
    check.add_argument("--num-frames", type=_positive, help="frames per clip, to find shorter videos")
    check.add_argument("--stride", type=_positive, help="source frames between two frames of a clip (default: 1)")
    check.add_argument("--fps", type=_positive_float, help="frames per second of the clip, instead of a stride")
    check.add_argument("--decode", action="store_true", help="decode every frame: slow, but finds all damage")
    check.add_argument(
        "--timeout", type=_positive_float, help="seconds until a stalled file counts as bad (default: 60)"
    )
    check.add_argument("--workers", type=_positive, help="videos checked in parallel (default: number of cores)")
    check.add_argument("--out", default="check.csv", help="file for the report, a line per video (default: check.csv)")


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
        kinds = frozenset() if config.dataset else LABELS  # a published data set may have any kind of annotations
    return check(config, how, kinds=kinds, out=args.out, workers=args.workers or 0)


def _add_inspect(commands: argparse._SubParsersAction) -> None:
    inspect = commands.add_parser(
        "inspect",
        help="show and check the clips that a training would read from a data set",
        description="Draw contact sheets of the clips of training and evaluation, and check sampling and splits.",
        epilog=_SETTINGS,
    )
    inspect.add_argument("data", nargs="?", help="CSV file or folder (default: that of the config)")
    inspect.add_argument("--config", metavar="FILE", help="experiment, as for train.py (default: all defaults)")
    inspect.add_argument("--out", help="folder for the results (default: inspect/ and the name of the data)")
    inspect.add_argument("--json", action="store_true", help="print JSON instead of a table")
    inspect.add_argument("--videos", type=_positive, default=8, help="videos on each contact sheet (default: 8)")
    inspect.add_argument("--draws", type=_positive, default=2, help="training clips per video (default: 2)")
    inspect.add_argument(
        "--open", type=int, default=500, help="videos per split that the checks open; 0: all (default: 500)"
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
        help="measure the input pipeline",
        description="Measure clips per second and core, where the time goes, and how many cores an accelerator needs.",
        epilog=epilog,
    )
    data.add_argument("--seconds", type=_positive_float, default=30.0, help="seconds to measure (default: 30)")
    data.add_argument("--accelerator", type=str.lower, default="h100", help="accelerator to feed (default: h100)")
    data.add_argument(
        "--accelerator-clips-per-s", type=_positive_float, metavar="CLIPS",
        help="clips/s of one accelerator, as measured in training (default: estimated from the model)",
    )  # fmt: skip
    data.add_argument("--mfu", type=_share, default=0.5, help="share of the accelerator's peak reached (default: 0.5)")
    step = what.add_parser(
        "step",
        help="measure the update on the devices at hand",
        description="Measure clips per second, share of the measured peak, compile time and memory, on random clips, "
        "and compare them with the prediction of `vidjax plan` for these devices.",
        epilog=epilog,
    )
    step.add_argument("--updates", type=_positive, default=20, help="updates to time (default: 20)")
    step.add_argument("--num-classes", type=_positive, default=0, help="number of classes (default: the data set's)")
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
        description="Compile the training step for TPUs (needs the extra tpu, but no TPU), or estimate it for GPUs.",
        epilog=_SETTINGS,
    )
    plan.add_argument("--config", metavar="FILE", help="experiment, as for train.py (default: all defaults)")
    where = plan.add_mutually_exclusive_group(required=True)
    where.add_argument("--topology", default="", help="TPU slice: v4, v5e, v5p or v6e, and shape, such as v5e:16x16")
    where.add_argument("--gpu", default="", help="GPU and count, such as h200:8; estimated without its compiler")
    what = plan.add_mutually_exclusive_group()
    what.add_argument("--search", action="store_true", help="try meshes, remat and batch sizes; list the best that fit")
    what.add_argument("--scaling", action="store_true", help="plan 8 to 512 devices, with equal shares of the batch")
    plan.add_argument("--most", type=_positive, help="most settings to compile in --search or --scaling (default: 12)")
    plan.add_argument("--out", help="file for the plot of --scaling (default: scaling.png)")
    plan.add_argument("--num-classes", type=_positive, default=0, help="number of classes (default: the data set's)")
    plan.add_argument("--num-videos", type=_positive, default=0, help="number of training videos (default: counted)")
    plan.add_argument(
        "--clips-per-core", type=_positive_float, default=25.0,
        help="clips/s decoded from mp4 files by one host core, as measured by bench data (default: 25)",
    )  # fmt: skip
    plan.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _run_plan(args: argparse.Namespace) -> int:
    from vidjax.plan.forecast import plan

    if (args.most and not (args.search or args.scaling)) or (args.out and not args.scaling):
        raise ConfigError("--most needs --search or --scaling, and --out needs --scaling")
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
    prepare.add_argument("data", help="CSV file, folder with one subfolder per class, or published annotations")
    prepare.add_argument("out", help="new folder; its last part, made of a-z, 0-9 and _, names the data set")
    prepare.add_argument("--eval", default="", help="evaluation videos, given like DATA (default: as in training)")
    prepare.add_argument("--root", default="", help="folder with the videos (default: that of the annotations)")
    prepare.add_argument("--dataset", default="", choices=DATASETS, help="published data set of DATA", metavar="NAME")
    prepare.add_argument("--split", type=_positive, default=1, help="official split of the data set (default: 1)")
    prepare.add_argument("--seed", type=int, default=0, help="seed of the held-out share, as config.seed (default: 0)")
    prepare.add_argument("--eval-share", type=float, default=0.2, help="share held out if there is no evaluation split")
    prepare.add_argument("--folder-fps", type=float, default=0.0, help="frames per second of image folders")
    prepare.add_argument("--jpeg", action="store_true", help="store JPEG frames (default: store the files unchanged)")
    prepare.add_argument("--short-side", type=int, default=256, help="frames' short side, px; 0: full (default: 256)")
    prepare.add_argument("--quality", type=_quality, default=75, help="quality of JPEG frames, 1-100 (default: 75)")
    prepare.add_argument("--workers", type=_positive, help="encoding processes (default: number of cores)")
    prepare.add_argument("--shard-mb", type=_positive, help="megabytes per shard (default: 256)")
    prepare.add_argument(
        "--beam", action="append", metavar="OPTION", help="Beam option, such as --beam runner=DirectRunner; repeatable"
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
        raise argparse.ArgumentTypeError(f"{text} is not in 1-100")
    return value


def _share(text: str) -> float:
    if not 0 < (value := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not in 0-1")
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
    """Run one command and return its exit status, importing nothing heavy before the arguments are checked."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["evaluate"] and set(argv[1:2]) & set(score_command.KINDS):
        score_command.main(argv[1:])
    if argv and argv[0] in ("train", "evaluate"):  # these have a parser of their own
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
            parser.error("convert: --to FRAMEWORK takes only RUN, OUT and --step")
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
