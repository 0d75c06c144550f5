"""Parsers of publishers' files of captions: a row for each video, with all of its sentences.

Sentences that tell one video in order, as those of ActivityNet Captions and DiDeMo, are joined to one text, by which
videos are found in publications on these sets. Sentences of which each tells the whole are kept apart.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vidjax.data.listing.annotations import AnnotationFile, lines
from vidjax.data.listing.csv_table import read_table
from vidjax.data.listing.gather import Gathered
from vidjax.data.listing.json_document import JsonDocument
from vidjax.data.listing.rows import Row
from vidjax.data.records import Caption
from vidjax.data.text import DataError, raise_problems

_TEXT = Caption.kind  # key of a sentence in MSR-VTT's file, too
_MSRVTT = ("MSRVTT_data.json", "videodatainfo.json", "train_val_videodatainfo.json")
_MSVD = ("AllVideoDescriptions.txt", "video_corpus.txt")


def parse_msrvtt(source: AnnotationFile) -> list[Row]:
    """Parse MSR-VTT: an object of `videos` (`video_id`, `split`) and `sentences` (`video_id`, `caption`)."""
    texts, split_of = _msrvtt_sentences(source.file)
    wanted = {"train": "train", "eval": "test"}[source.role]
    return [_row(name, own, source.file) for name, own in texts.items() if split_of.get(name) == wanted]


def parse_msrvtt_1ka(source: AnnotationFile) -> list[Row]:
    """Parse the split 1k-A of MSR-VTT: a CSV file with the column `video_id` and, for evaluation, one `sentence` each.

    For training, the sentences are read from MSR-VTT's own file beside it.
    """
    found = Gathered(need_files=False)
    texts = _msrvtt_sentences(_beside(source.file, _MSRVTT))[0] if source.role == "train" else None
    needed, others = (("video_id",), ("sentence",)) if texts is not None else (("video_id", "sentence"), ())
    for where, cells in read_table(str(source.file), needed, ("key", "vid_key", *others), found):
        name = cells["video_id"]
        own = [cells["sentence"]] if texts is None else texts.get(name, [])
        if name and all(own) and own:
            found.add(Row(name, where, Caption(tuple(own))), name)
        else:
            found.note(where, f"video {name!r} has no sentence")
    return found.rows()


def parse_msvd(source: AnnotationFile) -> list[Row]:
    """Parse MSVD: a list of videos, `ID_START_END` on each line, and beside it the sentences, `ID_START_END words`."""
    texts: dict[str, list[str]] = {}
    for _, line in lines(_beside(source.file, _MSVD)):
        name, _, text = line.partition(" ")
        if not name.startswith("#") and (text := text.strip()) and text not in texts.setdefault(name, []):
            texts[name].append(text)
    found, problems = [], []
    for where, line in lines(source.file):
        name = line.strip().removesuffix(".avi")
        if name in texts:
            found.append(Row(name, where, Caption(tuple(texts[name]))))
        else:
            problems.append(f"{where}: video {name!r} has no sentence in {_beside(source.file, _MSVD)}")
    raise_problems(problems)
    return found


def parse_vatex(source: AnnotationFile) -> list[Row]:
    """Parse VATEX: a list of objects with `videoID`, such as `ID_000010_000020`, and `enCap`, English sentences."""
    document, found = JsonDocument(source.file, list), []
    for name, entry in document.entries("videoID"):
        if texts := _sentences(entry.get("enCap")):
            found.append(_row(name, texts, source.file))
        else:
            document.note(name, "has no list of sentences 'enCap'")
    document.raise_problems()
    return found


def parse_didemo(source: AnnotationFile) -> list[Row]:
    """Parse DiDeMo: a list of objects with `video` and `description`; those of one video are joined in their order."""
    document, texts = JsonDocument(source.file, list), {}
    for name, entry in document.entries("video"):
        if own := _sentences([entry.get("description")]):
            texts.setdefault(name, []).extend(own)
        else:
            document.note(name, "has no 'description'")
    document.raise_problems()
    return [_row(name, [" ".join(own)], source.file) for name, own in texts.items()]


def parse_activitynet_captions(source: AnnotationFile) -> list[Row]:
    """Parse ActivityNet Captions: an object of `v_ID` with `sentences`, which are joined in their order."""
    document, found = JsonDocument(source.file, dict), []
    for name, entry in document.value.items():
        if own := _sentences(entry.get("sentences") if isinstance(entry, dict) else None):
            found.append(_row(name, [" ".join(own)], source.file))
        else:
            document.note(name, "has no list 'sentences'")
    document.raise_problems()
    return found


def _msrvtt_sentences(file: Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Sentences and split of each video."""
    document = JsonDocument(file, dict)
    texts: dict[str, list[str]] = {}
    for part, key in (("videos", "video_id"), ("sentences", "video_id")):
        if not isinstance(document.value.get(part), list):
            raise DataError(f"{file}: has no list {part!r} of objects with {key!r}, as MSR-VTT's own file does")
    for entry in document.value["sentences"]:
        name, own = _named(entry), _sentences([entry.get(_TEXT)] if isinstance(entry, dict) else None)
        if name and own:
            texts.setdefault(name, []).extend(text for text in own if text not in texts[name])
        else:
            document.note("", f"a sentence without 'video_id' or 'caption': {str(entry)[:80]}")
    document.raise_problems()
    return texts, {_named(entry): str(entry.get("split", "")) for entry in document.value["videos"] if _named(entry)}


def _named(entry: Any) -> str:
    return str(entry.get("video_id", "")) if isinstance(entry, dict) else ""


def _sentences(given: Any) -> list[str]:
    """Sentences of a list, with single spaces and without repetitions; [] if one is none, or there is none."""
    if not isinstance(given, list) or not all(isinstance(text, str) and text.strip() for text in given):
        return []
    return list(dict.fromkeys(re.sub(r"\s+", " ", text.strip()) for text in given))


def _row(name: str, texts: Iterable[str], file: Path) -> Row:
    return Row(name, f"{file}: {name}", Caption(tuple(texts)))


def _beside(file: Path, names: tuple[str, ...]) -> Path:
    """The first of some files in the folder of another.

    Raises:
      DataError: if there is none of them.
    """
    for name in names:
        if (file.parent / name).is_file():
            return file.parent / name
    raise DataError(f"{file.parent}: has no {' or '.join(names)}, with the sentences of {file.name}'s videos")
