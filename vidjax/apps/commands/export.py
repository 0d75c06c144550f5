"""The command `vidjax export`."""

import argparse

from vidjax.apps.command_parser import SETTINGS, Commands


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "export",
        help="write a trained network for other runtimes: StableHLO, or ONNX for onnxruntime, TensorRT or OpenVINO",
        description="Write a trained network as programs that take clips as read (uint8) and give probabilities, for "
        "any number of clips, and check them with clips of the run's own evaluation videos: a relative error above "
        "1e-4 is refused. `vidjax predict OUT VIDEO` uses them like the run.",
        epilog=SETTINGS,
    )
    parser.add_argument("run_folder", metavar="RUN", help="work directory of a run, or folder written by convert")
    parser.add_argument("out", metavar="OUT", help="new folder")
    parser.add_argument(
        "--format",
        choices=("stablehlo", "onnx"),
        default="stablehlo",
        help="stablehlo: for JAX, one program per platform and the weights; onnx: one file (default: stablehlo)",
    )
    parser.add_argument(
        "--for",
        dest="target",
        choices=("onnxruntime", "tensorrt", "openvino"),
        help="runtime of the ONNX file: 3D convolutions for TensorRT, 2D ones for the others (default: onnxruntime)",
    )
    parser.add_argument(
        "--platforms",
        type=lambda text: text.split(","),
        metavar="NAMES",
        help="platforms of StableHLO programs, comma-separated (default: cpu,cuda,tpu)",
    )
    parser.add_argument("--triton", metavar="DIR", help="also write the ONNX file to a model repository of Triton")
    parser.add_argument("--step", type=int, help="update number of the checkpoint to use (default: the best)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.export import export

    return export(
        args.run_folder,
        args.out,
        format=args.format,
        target=args.target,
        platforms=args.platforms,
        triton=args.triton,
        settings=args.settings,
        step=args.step,
    )
