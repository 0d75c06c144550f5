"""Arguments of `vidjax evaluate segments|boxes|tubes|labels|frames|embeddings|flow`: scores of files, without a run."""

import argparse
import sys
from typing import Any

from vidjax.apps.command_parser import CommandParser, positive, share
from vidjax.config.choices import (
    BOX_PROTOCOLS,
    DATASETS,
    EMBEDDING_TASKS,
    FLOW_LAYOUTS,
    FLOWS,
    PROPOSAL_PROTOCOLS,
    PROTOCOLS,
    TIOUS,
    TUBE_PROTOCOLS,
)

KINDS = ("segments", "boxes", "tubes", "labels", "frames", "embeddings", "flow")


def main(argv: list[str]) -> None:
    """Score files and exit.

    Args:
      argv: the kind, one of `KINDS`, and its arguments.
    """
    args = parser().parse_args(argv)
    from vidjax.apps.user_errors import explain

    sys.exit(explain(lambda: _run(vars(args))))


def parser() -> argparse.ArgumentParser:
    """Make the parser of all kinds."""
    top = CommandParser("vidjax evaluate", description="Score files of predictions, without a model.")
    kinds = top.add_subparsers(dest="kind", required=True, metavar="|".join(KINDS))
    segments = kinds.add_parser(
        "segments",
        help="segments of long videos, or proposals",
        description="Mean average precision of segments in ActivityNet's JSON by temporal IoU.",
        epilog="Protocols: official, ActivityNet's code; actionformer and opentad remove annotations that occur twice "
        "or are very short, and opentad ignores labels that the truth lacks. mmaction2 is for proposals.",
    )
    _files(segments, "JSON file with results: {video: [{label, score, segment: [start, end]}]}", "JSON file with "
           "database: {video: {subset, annotations: [{label, segment: [start, end]}]}}, CSV file path,start,end,label "
           "[,split], EPIC-Kitchens' or Charades' CSV, or THUMOS14's folder of text files")  # fmt: skip
    segments.add_argument(
        "--protocol", choices=PROPOSAL_PROTOCOLS, default="official", help="rules of the score (default: official)"
    )
    segments.add_argument("--subset", default="", help="subset of the truth (default: validation, or the only one)")
    segments.add_argument(
        "--thresholds",
        nargs="+",
        default=["activitynet"],
        metavar="TIOU",
        help=f"temporal IoUs, or a set of them: {', '.join(TIOUS)} (default: activitynet, 0.5:0.05:0.95)",
    )
    segments.add_argument(
        "--proposals", action="store_true", help="recall by number of proposals (AR@AN) instead; labels do not count"
    )
    boxes = kinds.add_parser(
        "boxes",
        help="boxes in single frames, as for AVA",
        description="Mean average precision of labelled boxes in AVA's CSV form (frame mAP).",
        epilog="Protocols: official, AVA's code, the 50 best detections of a frame; slowfast, all detections, also in "
        "frames without truth; mmaction2, without classes that are never predicted.",
    )
    _files(boxes, "CSV file without a header, video,second,x1,y1,x2,y2,action,score", "CSV file without a header, "
           "video,second,x1,y1,x2,y2,action[,person], or video,second for a frame without boxes")  # fmt: skip
    boxes.add_argument("--classes", default="", metavar="FILE", help="list of actions, .pbtxt (default: AVA's 60)")
    boxes.add_argument("--exclude", default="", metavar="FILE", help="CSV file of frames to leave out, video,second")
    boxes.add_argument(
        "--protocol", choices=BOX_PROTOCOLS, default="official", help="rules of the score (default: official)"
    )
    boxes.add_argument("--iou", type=share, default=0.5, help="least IoU of a true detection (default: 0.5)")
    tubes = kinds.add_parser(
        "tubes",
        help="boxes that follow a person through a video",
        description="Mean average precision of tubes in JSON by spatio-temporal IoU (video mAP).",
        epilog="Protocols: official, MultiSports' code; act, the ACT detector's, as for UCF101-24 and JHMDB, with "
        "boxes in pixels.",
    )
    tube = "tubes: [{video, label, frames: [number], boxes: [[x1, y1, x2, y2]]"
    _files(tubes, f"JSON file with {tube}, score}}]", f"JSON file with {tube}}}], or the pickle of UCF101-24, J-HMDB "
           "or MultiSports")  # fmt: skip
    tubes.add_argument(
        "--protocol", choices=TUBE_PROTOCOLS, default="official", help="rules of the score (default: official)"
    )
    tubes.add_argument(
        "--thresholds", nargs="+", type=share, default=[], metavar="IOU",
        help="least overlaps (default: 0.2 and 0.5:0.05:0.95)",
    )  # fmt: skip
    tubes.add_argument("--split", type=positive, default=1, help="official split of a pickle (default: 1)")
    tubes.add_argument(
        "--without", nargs="+", default=[], metavar="CLASS",
        help="classes to leave out, as MultiSports does with six rare ones",
    )  # fmt: skip
    arrays = "folder of an evaluation, or .npz file with scores (N, K) and targets (N,) or (N, K)"
    labels = kinds.add_parser(
        "labels",
        help="classes of whole videos, one or several per video",
        description="Accuracy, or with several labels per video the mean average precision over classes and over "
        "samples.",
    )
    labels.add_argument("scores", help=arrays)
    frames = kinds.add_parser(
        "frames",
        help="classes of single frames, as found while a video is running",
        description="Per-frame mean average precision, and calibrated average precision.",
    )
    frames.add_argument("scores", help=f"{arrays} of frames")
    frames.add_argument(
        "--background", nargs="+", default=[], metavar="CLASS", help="classes without a figure, by name or number"
    )
    frames.add_argument("--ambiguous", default="", metavar="CLASS", help="class whose frames are removed")
    for each in (segments, boxes, tubes, labels, frames):
        each.add_argument("--out", default="", metavar="FOLDER", help="folder for eval.json and a plot of the classes")
        each.add_argument("--json", action="store_true", help="print JSON instead of tables")
    _add_embeddings(kinds)
    _add_flow(kinds)
    return top


def _add_embeddings(kinds: Any) -> None:
    parser = kinds.add_parser(
        "embeddings",
        help="feature vectors of videos, on labels",
        description="Score the vectors of `vidjax embed` by neighbours, linear classes, clusters and pairs. Test "
        "videos ask the training videos or, without these, each asks all others.",
    )
    parser.add_argument("index", help="folder of `vidjax embed`")
    parser.add_argument(
        "--data", required=True, help="labels: CSV file, JSON Lines, folder of classes, or published annotations"
    )
    parser.add_argument("--eval", default="", help="labels of the test videos (default: those DATA marks as such)")
    parser.add_argument("--root", default="", help="folder with the videos (default: that of the annotations)")
    parser.add_argument("--dataset", default="", choices=DATASETS, metavar="NAME", help="published data set of DATA")
    parser.add_argument("--split", type=positive, default=1, help="official split of the data set (default: 1)")
    parser.add_argument(
        "--tasks", nargs="+", choices=EMBEDDING_TASKS, default=[],
        help=f"some of {', '.join(EMBEDDING_TASKS)} (default: all)",
    )  # fmt: skip
    parser.add_argument("--out", default="", metavar="FOLDER", help="folder for scores.json (default: the index)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_flow(kinds: Any) -> None:
    methods = [name for name in FLOWS if name != "folder"]
    parser = kinds.add_parser(
        "flow",
        help="optical flow by an algorithm or a network, on the true flow of a benchmark",
        description="Estimate the flow of a benchmark's pairs of pictures and compare it with the true one. Sintel: "
        "mean over all pixels, of each pass; KITTI: mean over pairs, and outliers.",
    )
    parser.add_argument("folder", help="folder of the benchmark, as it is unpacked")
    parser.add_argument("--layout", required=True, choices=FLOW_LAYOUTS, help="whose folders these are")
    parser.add_argument(
        "--method", default="dis_fast", metavar="NAME",
        help=f"one of {', '.join(methods)}, or the folder of a run that trained a network (default: dis_fast)",
    )  # fmt: skip
    parser.add_argument("--weights", default="", metavar="FILE", help="checkpoint of raft_small or raft_large")
    parser.add_argument(
        "--updates", type=positive, default=0, help="updates of the network (default: 32 on Sintel, else 24)"
    )
    parser.add_argument("--out", default="", metavar="FOLDER", help="folder for eval.json")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _files(kind: argparse.ArgumentParser, predictions: str, truth: str) -> None:
    kind.add_argument("predictions", help=predictions)
    kind.add_argument("--truth", required=True, metavar="FILE", help=truth)


def _levels(given: list[str]) -> tuple[float, ...]:
    from vidjax.errors import UserError

    if len(given) == 1 and given[0] in TIOUS:
        return TIOUS[given[0]]
    try:
        return tuple(map(share, given))
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise UserError(f"--thresholds: numbers in 0-1, or one of {', '.join(TIOUS)} ({error})") from None


def _run(args: dict[str, Any]) -> int:
    from vidjax.apps import score
    from vidjax.errors import UserError

    kind, out, as_json = (args.pop(name) for name in ("kind", "out", "json"))
    if kind == "embeddings":
        from vidjax.apps.evaluate_embeddings import evaluate_embeddings
        from vidjax.config import DataConfig

        folder, tasks, labels = args.pop("index"), args.pop("tasks"), args.pop("data")
        return evaluate_embeddings(folder, DataConfig(train=labels, **args), tasks=tasks, out=out, as_json=as_json)
    if kind == "flow":
        from vidjax.apps.evaluate_flow import evaluate_flow

        return evaluate_flow(**args, out=out, as_json=as_json)
    if kind == "segments":
        args["thresholds"] = _levels(args["thresholds"])
        if args["protocol"] not in PROTOCOLS and not args["proposals"]:
            raise UserError(f"--protocol {args['protocol']} is for --proposals; segments: {', '.join(PROTOCOLS)}")
    of = {
        "segments": score.score_segments,
        "boxes": score.score_boxes,
        "tubes": score.score_tubes,
        "labels": score.score_labels,
        "frames": score.score_frames,
    }
    return score.present(of[kind](**args), out=out, as_json=as_json)
