"""Published data sets by name: parser, classes in their fixed order, official splits, annotation files, direction.

Everything that differs between data sets is in their entries here; `published.py` reads any of them.
"""

import re
from dataclasses import dataclass, field

from vidjax.config import DataConfig
from vidjax.data.listing import annotations as formats
from vidjax.data.listing import published_captions as captions
from vidjax.data.listing import published_sounds as sounds
from vidjax.data.listing.activitynet import parse_activitynet
from vidjax.data.listing.annotations import Parser
from vidjax.data.listing.ava import parse_ava
from vidjax.data.listing.class_lists import read_class_names
from vidjax.data.listing.tubes import tube_parser
from vidjax.data.reading.open_video import ASSUMED_FPS
from vidjax.data.records import LABELS, Boxes, Caption

_CAPTIONS = frozenset({Caption.kind})
_TUBE_FPS = 25.0  # of data sets whose boxes are annotated by frame number


@dataclass(frozen=True)
class Dataset:
    """Definition of a published data set: everything known before its files are opened.

    Attributes:
      name: name in `config.data.dataset`, and of the class list in `labels/`.
      title: name that its authors use.
      url: web page of the data set.
      parse: parser of its annotation files.
      train_files, eval_files: possible names of the annotation files, of which the first that exists is used; `{split}`
        is replaced by the number of the split, `*` matches anything.
      kinds: kinds of annotations in its files.
      splits: number of official splits.
      several: whether a video, or a box, may show several classes, or none.
      directional: whether its classes tell left from right, so that mirroring changes them.
      folder_fps: frame rate of a data set distributed as one folder of JPEG files per video, frames/s; 0: video files.
      timed: whether files are also found by names that end in the start and end of a part of a video, in seconds:
        `ID_000010_000020.mp4`.
      sound: whether its files may be of sound alone, and have one of the names in use for parts of YouTube's videos.
      labels: name of the class list in `labels/`, if it is another data set's.
      train_videos: number of videos in its first training split; fewer may still be available. UCF-101's is counted in
        its file, HMDB-51's is 70 per class by construction; those of ActivityNet, AudioSet, Charades, Diving48, ESC-50,
        HVU, Jester and Something-Something V2 are their publishers'. Those of Kinetics, Moments, VGGSound and
        Something-Something V1 are approximate, as the lists have changed or no publisher's figure was found; so are
        those of data sets with boxes, in annotated frames.
    """

    name: str
    title: str
    url: str
    parse: Parser = field(repr=False)
    train_files: tuple[str, ...]
    eval_files: tuple[str, ...]
    kinds: frozenset[str] = LABELS
    splits: int = 1
    several: bool = False
    directional: bool = False
    folder_fps: float = 0.0
    timed: bool = False
    sound: bool = False
    labels: str = ""
    train_videos: int = 0

    @property
    def metric(self) -> str:
        """Name in `eval.json` of the figure by which results of classification are compared."""
        return "mAP" if self.several else "top1"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the K classes, in the order of the publisher's class numbers if there are any; () of captions."""
        return () if self.kinds == _CAPTIONS else read_class_names(self.labels or self.name)

    @property
    def mirrored(self) -> dict[int, int]:
        """Class → class of the same clip mirrored left to right, for those that change. Classes are paired by their
        names, "… left …" with "… right …"; empty unless `directional`."""
        index = {name.casefold(): i for i, name in enumerate(self.class_names)} if self.directional else {}
        pairs = {i: index.get(_mirror_words(name)) for name, i in index.items()}
        return {i: j for i, j in pairs.items() if j is not None and j != i}


def _define(*datasets: Dataset) -> dict[str, Dataset]:
    return {dataset.name: dataset for dataset in datasets}


def _kinetics(classes: int, train_videos: int) -> Dataset:
    names = [f"{stem}{suffix}" for suffix in (".csv", ".json") for stem in ("{0}", f"kinetics_{classes}_{{0}}")]
    names += [f"kinetics{classes}_{{0}}.csv", f"kinetics-{classes}_{{0}}.csv"]
    train, *evaluation = (
        tuple(name.format(split) for name in names) for split in ("train", "validate", "validation", "val", "test")
    )
    return Dataset(
        name=f"kinetics{classes}",
        train_videos=train_videos,
        title=f"Kinetics-{classes}",
        url="https://github.com/cvdfoundation/kinetics-dataset",
        parse=formats.parse_kinetics,
        train_files=train,
        eval_files=sum(evaluation, ()),
    )


def _captioned(
    name: str, title: str, url: str, parse: Parser, train: tuple[str, ...], evaluation: tuple[str, ...], videos: int
) -> Dataset:
    return Dataset(name, title, url, parse, train, evaluation, kinds=_CAPTIONS, train_videos=videos)


DATASETS: dict[str, Dataset] = _define(
    Dataset(
        name="activitynet",
        train_videos=10024,
        title="ActivityNet 1.3",
        url="http://activity-net.org",
        parse=parse_activitynet,
        train_files=("activity_net.v1-3.min.json", "activity_net*.json"),
        eval_files=("activity_net.v1-3.min.json", "activity_net*.json"),
    ),
    _captioned(
        "activitynet_captions",
        "ActivityNet Captions",
        "https://cs.stanford.edu/people/ranjaykrishna/densevid",
        captions.parse_activitynet_captions,
        ("train.json",),
        ("val_1.json",),
        10009,
    ),
    Dataset(
        name="audioset",
        train_videos=2_063_949,
        title="AudioSet",
        url="https://research.google.com/audioset",
        parse=sounds.parse_audioset,
        train_files=("*train_segments.csv",),
        eval_files=("eval_segments.csv",),
        several=True,
        sound=True,
    ),
    Dataset(
        name="ava",
        train_videos=211_000,
        title="AVA",
        url="https://research.google.com/ava",
        parse=parse_ava,
        train_files=("ava_train_v2.2.csv", "ava_train_v*.csv"),
        eval_files=("ava_val_v2.2.csv", "ava_val_v*.csv"),
        kinds=frozenset({Boxes.kind}),
        several=True,
    ),
    Dataset(
        name="ava_kinetics",
        train_videos=350_000,
        title="AVA-Kinetics",
        url="https://research.google.com/ava",
        parse=parse_ava,
        train_files=("*train_v*.csv",),
        eval_files=("*val_v*.csv",),
        kinds=frozenset({Boxes.kind}),
        several=True,
        timed=True,
        labels="ava",
    ),
    Dataset(
        name="charades",
        train_videos=7985,
        title="Charades",
        url="https://prior.allenai.org/projects/charades",
        parse=formats.parse_charades,
        train_files=("Charades_v1_train.csv",),
        eval_files=("Charades_v1_test.csv",),
        several=True,
    ),
    _captioned(
        "didemo",
        "DiDeMo",
        "https://github.com/LisaAnne/LocalizingMoments",
        captions.parse_didemo,
        ("train_data.json",),
        ("test_data.json", "val_data.json"),
        8395,
    ),
    Dataset(
        name="diving48",
        train_videos=15027,
        title="Diving48",
        url="http://www.svcl.ucsd.edu/projects/resound/dataset.html",
        parse=formats.parse_diving48,
        train_files=("Diving48_V2_train.json", "Diving48_train.json"),
        eval_files=("Diving48_V2_test.json", "Diving48_test.json"),
    ),
    Dataset(
        name="esc50",
        train_videos=1600,
        title="ESC-50",
        url="https://github.com/karolpiczak/ESC-50",
        parse=sounds.parse_esc50,
        train_files=("esc50.csv", "meta/esc50.csv"),
        eval_files=("esc50.csv", "meta/esc50.csv"),
        splits=5,
        sound=True,
    ),
    Dataset(
        name="hmdb51",
        train_videos=3570,
        title="HMDB-51",
        url="https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database",
        parse=formats.parse_hmdb51,
        train_files=("*_test_split{split}.txt",),
        eval_files=("*_test_split{split}.txt",),
        splits=3,
    ),
    Dataset(
        name="hvu",
        train_videos=481_417,
        title="HVU",
        url="https://github.com/holistic-video-understanding/HVU-Dataset",
        parse=formats.parse_hvu,
        train_files=("hvu_train_video.json", "hvu_train*.json"),
        eval_files=("hvu_val_video.json", "hvu_val*.json"),
        several=True,
    ),
    Dataset(
        name="jester",
        train_videos=118562,
        title="Jester",
        url="https://www.qualcomm.com/developer/software/jester-dataset",
        parse=formats.parse_id_and_label,
        train_files=("jester-v1-train.csv",),
        eval_files=("jester-v1-validation.csv",),
        directional=True,
        folder_fps=12.0,
    ),
    Dataset(
        name="jhmdb",
        train_videos=22_000,
        title="J-HMDB",
        url="http://jhmdb.is.tue.mpg.de",
        parse=tube_parser(_TUBE_FPS),
        train_files=("JHMDB-GT.pkl",),
        eval_files=("JHMDB-GT.pkl",),
        kinds=frozenset({Boxes.kind}),
        splits=3,
        folder_fps=_TUBE_FPS,
    ),
    _kinetics(400, 240_000),
    _kinetics(600, 392_622),
    _kinetics(700, 545_317),
    Dataset(
        name="moments",
        train_videos=802264,
        title="Moments in Time",
        url="http://moments.csail.mit.edu",
        parse=formats.parse_moments,
        train_files=("trainingSet.csv",),
        eval_files=("validationSet.csv",),
    ),
    _captioned(
        "msrvtt",
        "MSR-VTT",
        "https://www.microsoft.com/en-us/research/publication/msr-vtt-a-large-video-description-"
        "dataset-for-bridging-video-and-language",
        captions.parse_msrvtt,
        ("MSRVTT_data.json", "videodatainfo.json", "train_val_videodatainfo.json"),
        ("MSRVTT_data.json", "videodatainfo.json", "test_videodatainfo.json"),
        6513,
    ),
    _captioned(
        "msrvtt_1ka",
        "MSR-VTT 1k-A",
        "https://github.com/ArrowLuo/CLIP4Clip",
        captions.parse_msrvtt_1ka,
        ("MSRVTT_train.9k.csv",),
        ("MSRVTT_JSFUSION_test.csv",),
        9000,
    ),
    _captioned(
        "msvd",
        "MSVD",
        "https://www.cs.utexas.edu/~ml/clamp/videoDescription",
        captions.parse_msvd,
        ("train_list.txt",),
        ("test_list.txt",),
        1200,
    ),
    Dataset(
        name="multisports",
        train_videos=600_000,
        title="MultiSports",
        url="https://deeperaction.github.io/datasets/multisports.html",
        parse=tube_parser(_TUBE_FPS),
        train_files=("multisports_GT.pkl",),
        eval_files=("multisports_GT.pkl",),
        kinds=frozenset({Boxes.kind}),
        several=True,
        folder_fps=_TUBE_FPS,
    ),
    Dataset(
        name="something_v1",
        train_videos=86017,
        title="Something-Something V1",
        url="https://www.qualcomm.com/developer/software/something-something-v-2-dataset",
        parse=formats.parse_id_and_label,
        train_files=("something-something-v1-train.csv",),
        eval_files=("something-something-v1-validation.csv",),
        directional=True,
        folder_fps=12.0,
    ),
    Dataset(
        name="something_v2",
        train_videos=168913,
        title="Something-Something V2",
        url="https://www.qualcomm.com/developer/software/something-something-v-2-dataset",
        parse=formats.parse_something_v2,
        train_files=("something-something-v2-train.json", "train.json"),
        eval_files=("something-something-v2-validation.json", "validation.json"),
        directional=True,
    ),
    Dataset(
        name="ucf101",
        train_videos=9537,
        title="UCF-101",
        url="https://www.crcv.ucf.edu/data/UCF101.php",
        parse=formats.parse_ucf101,
        train_files=("trainlist{split:02d}.txt",),
        eval_files=("testlist{split:02d}.txt",),
        splits=3,
    ),
    Dataset(
        name="ucf101_24",
        train_videos=250_000,
        title="UCF101-24",
        url="https://github.com/gurkirt/corrected-UCF101-Annots",
        parse=tube_parser(_TUBE_FPS),
        train_files=("UCF101v2-GT.pkl",),
        eval_files=("UCF101v2-GT.pkl",),
        kinds=frozenset({Boxes.kind}),
        folder_fps=_TUBE_FPS,
    ),
    _captioned(
        "vatex",
        "VATEX",
        "https://eric-xw.github.io/vatex-website",
        captions.parse_vatex,
        ("vatex_training_v1.0.json",),
        ("vatex_validation_v1.0.json",),
        25991,
    ),
    Dataset(
        name="vggsound",
        train_videos=184_000,
        title="VGGSound",
        url="https://www.robots.ox.ac.uk/~vgg/data/vggsound",
        parse=sounds.parse_vggsound,
        train_files=("vggsound.csv",),
        eval_files=("vggsound.csv",),
        sound=True,
    ),
)


def folder_fps(config: DataConfig) -> float:
    """Frame rate of videos stored as folders of images, which do not state it, frames per second."""
    published = DATASETS[config.dataset].folder_fps if config.dataset else 0.0
    return config.folder_fps or published or ASSUMED_FPS


_MIRROR = {"left": "right", "clockwise": "counterclockwise"}
_MIRROR |= {b: a for a, b in _MIRROR.items()}


def _mirror_words(name: str) -> str:
    return re.sub(r"\w+", lambda word: _MIRROR.get(word[0], word[0]), name)
