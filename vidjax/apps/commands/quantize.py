"""The command `vidjax quantize`."""

import argparse

from vidjax.apps.command_parser import SETTINGS, Commands, positive, positive_float


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "quantize",
        help="write a classifier in int8, as an ONNX file, and compare it with float32",
        description="Quantise the ONNX file of a trained classifier to int8 with ranges from clips of its training "
        "list, keep the layers float that cost most, and report accuracy, agreement, size and CPU time beside float32.",
        epilog=SETTINGS,
    )
    parser.add_argument("source", metavar="RUN", help="work directory of a run, or folder of `export --format onnx`")
    parser.add_argument("out", metavar="OUT", help="new folder")
    parser.add_argument(
        "--for",
        dest="target",
        choices=("onnxruntime", "tensorrt", "openvino"),
        help="runtime; tensorrt: symmetric (default: that of the export, or onnxruntime)",
    )
    parser.add_argument(
        "--clips", type=positive, default=64, help="training clips that ranges are taken from (default: 64)"
    )
    parser.add_argument(
        "--tolerance",
        type=positive_float,
        default=0.05,
        help="error of the logits above which layers stay float, relative root mean square (default: 0.05)",
    )
    parser.add_argument("--step", type=int, help="update number of the checkpoint to use (default: the best)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.quantize import quantize

    return quantize(
        args.source,
        args.out,
        target=args.target,
        clips=args.clips,
        tolerance=args.tolerance,
        settings=args.settings,
        step=args.step,
    )
