"""The command `vidjax detect`."""

import argparse

from vidjax.apps.command_parser import Commands, positive, positive_float


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "detect",
        help="who does what in a video: boxes with classes, tubes, and the video with both drawn on it",
        description="Classify the boxes in the key frames of a video with a trained network of boxes. They come from a "
        "file, or from a detector of people.",
        epilog="Writes to OUT: detections.csv in AVA's form with classes.pbtxt, tubes.json, and VIDEO.mp4 with the "
        "boxes and the classes drawn on it.",
    )
    parser.add_argument("run_folder", metavar="RUN", help="work directory of a run, or folder written by convert")
    parser.add_argument("video", metavar="VIDEO", help="video file, or folder of images")
    parser.add_argument(
        "--boxes",
        default="",
        metavar="FILE",
        help="boxes: a CSV path,time,x1,y1,x2,y2[,score], one in AVA's form, or a pickle; corners are shares of the "
        "picture, and the key frames are those of the file",
    )
    parser.add_argument(
        "--detector",
        default="",
        metavar="NAME=CHECKPOINT",
        help="detector of people, such as detr_r50=detr-resnet-50, or a FILE.onnx, instead of --boxes",
    )
    parser.add_argument("--bank", default="", metavar="DIR", help="feature bank with the video, by `vidjax bank`")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--every", type=positive_float, default=1.0, help="seconds between key frames, with --detector (default: 1)"
    )
    parser.add_argument("--least", type=float, default=0.8, help="least score of a detected box (default: 0.8)")
    parser.add_argument(
        "--min-score", type=float, default=0.3, help="least score of a class in tubes and on the video (default: 0.3)"
    )
    parser.add_argument("--top", type=positive, default=3, help="most classes written at a box (default: 3)")
    parser.add_argument("--step", type=int, help="update number of the checkpoint to use (default: the best)")
    parser.add_argument("--no-video", action="store_true", help="do not draw the video")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.detect_people import detect_people

    return detect_people(
        args.run_folder,
        args.video,
        out=args.out,
        boxes=args.boxes,
        detector=args.detector,
        bank=args.bank,
        every=args.every,
        least=args.least,
        min_score=args.min_score,
        top=args.top,
        step=args.step,
        draw=not args.no_video,
    )
