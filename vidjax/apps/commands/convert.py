"""The command `vidjax convert`."""

import argparse

from vidjax.apps.command_parser import Commands, positive


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "convert",
        help="convert another framework's checkpoint into a vidjax one, or back",
        usage="%(prog)s MODEL CHECKPOINT OUT [options]\n       %(prog)s --to FRAMEWORK RUN OUT [--step STEP] "
        "[--stream NAME] [--only-adapter]\n"
        "       %(prog)s --list",
    )
    parser.add_argument("model", nargs="?", help="name of the vidjax model, such as r2plus1d_18; with --to: the run")
    parser.add_argument(
        "checkpoint",
        nargs="?",
        help=".pth, .pt or .safetensors file, a transformers folder, or imagenet or kinetics: the trained networks of "
        "the extras with these names; with --to: the file or folder to write",
    )
    parser.add_argument("out", nargs="?", help="new folder for the vidjax checkpoint")
    parser.add_argument("--from", dest="source", help="source of the file, see --list (default: by its keys)")
    parser.add_argument("--to", metavar="FRAMEWORK", help="write RUN as a checkpoint of torchvision, pytorchvideo, …")
    parser.add_argument("--step", type=int, help="with --to: number of the update to convert (default: the best)")
    parser.add_argument("--stream", default="", help="with --to: stream of a network of several, such as rgb")
    parser.add_argument(
        "--num-classes", type=positive, help="number of classes of a new head (default: keep the checkpoint's head)"
    )
    parser.add_argument(
        "--class-names",
        metavar="FILE",
        help="file of class names in head order, one per line, or the name of a data set, such as kinetics400",
    )
    parser.add_argument("--tokenizer", default="", metavar="FILE", help="tokenizer of a network that reads texts")
    parser.add_argument(
        "--config",
        default="",
        metavar="FILE",
        help="recipe for MODEL, whose settings of data and task the folder keeps",
    )
    parser.add_argument(
        "--adapter", default="", metavar="FOLDER", help="low-rank pairs of peft's to add to the weights"
    )
    parser.add_argument(
        "--param-dtype", choices=("float32", "bfloat16"),
        help="type in which parameters are stored (default: float32)",
    )  # fmt: skip
    parser.add_argument(
        "--only-adapter", action="store_true", help="with --to: only the run's low-rank pairs, as a folder for peft"
    )
    parser.add_argument("--list", action="store_true", help="print the sources that can be read or written, and exit")
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.convert import convert, convert_back, list_sources

    if args.to:
        others = (
            args.source,
            args.num_classes,
            args.class_names,
            args.tokenizer,
            args.config,
            args.adapter,
            args.param_dtype,
        )
        if args.checkpoint is None or args.out is not None or any(others):
            args.parser.error("--to FRAMEWORK takes only RUN, OUT, --step, --stream and --only-adapter")
        return convert_back(
            args.model, args.checkpoint, args.to, step=args.step, stream=args.stream, adapter=args.only_adapter
        )
    if args.list:
        return list_sources()
    if args.out is None or args.step is not None or args.stream or args.only_adapter:
        args.parser.error("give MODEL CHECKPOINT OUT, --to FRAMEWORK RUN OUT, or --list")
    return convert(
        args.model,
        args.checkpoint,
        args.out,
        source=args.source,
        num_classes=args.num_classes,
        class_names=args.class_names,
        tokenizer=args.tokenizer,
        recipe=args.config,
        adapter=args.adapter,
        param_dtype=args.param_dtype or "float32",
    )
