"""Search among embedded videos: by an example (`vidjax search`), by liked ones (`vidjax recommend`), and for
near-duplicates (`vidjax duplicates`)."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vidjax.apps import hits
from vidjax.embeddings import approximate
from vidjax.embeddings.duplicates import OVERLAP, THRESHOLD, Duplicate, find_duplicates, groups
from vidjax.embeddings.index import Index, read_index
from vidjax.embeddings.matches import match_clips, match_videos, rocchio
from vidjax.embeddings.network import Queries
from vidjax.errors import UserError
from vidjax.progress import progress_bar
from vidjax.wording import things

_SHOWN = 20  # pairs on a contact sheet and in the table


def search(
    folder: str,
    query: str,
    *,
    top: int = 10,
    by: str = "",
    method: str = "exact",
    run: str = "",
    out: str = "",
    as_json: bool = False,
) -> int:
    """Find the videos of an index that resemble a video, or that words describe, and draw them.

    Args:
      folder: folder of the index.
      query: video file, in the index or not; or, for an index of a network of videos and texts, words.
      top: number of videos to find.
      by: "video": mean vectors are compared; "clip": the most similar clips; empty: "video" for exact search.
      method: "exact", or "usearch" for an approximate search among clips.
      run: folder of the network's checkpoint, if it has moved.
      out: folder for `search.png` and `search.json`; empty: `search/` and the name of the video, or the words.
      as_json: print JSON instead of a table.

    Raises:
      VectorsError: if the index cannot be used, another network made it, or the video cannot be read.
      UserError: if a needed package is missing, or approximate search is asked for whole videos.
    """
    if method == "usearch" and by == "video":
        raise UserError("--index usearch searches among clips: leave out --by video, or embed with --per video")
    by = by or ("clip" if method == "usearch" else "video")
    index = read_index(folder)
    share = approximate.recall(index, top) if method == "usearch" else None
    queries = Queries(index, run)
    in_words = queries.in_words(query)
    found = queries.text(query) if in_words else queries(query)
    assert found.vectors is not None
    own = [number] if (number := index.find(query)) is not None else []
    if by == "video":
        matches = match_videos(index, found.vectors, top, own)
    else:
        among = {"search": _approximate(index)} if method == "usearch" else {}
        matches = match_clips(index, found.vectors, top, own, **among)
    times = None if found.start is None or found.end is None else (found.start, found.end)
    rows = hits.entries(index, matches, times)
    summary: dict[str, Any] = {"query": found.path, "index": str(index.folder), "model": index.origin.words, "by": by}
    summary |= {"method": method, "num_videos": len(index.videos), "num_vectors": len(index.vectors)}
    if share is not None:
        summary[f"recall_at_{top}"] = share
    sheet = _sheet(rows)
    if times:
        sheet = [hits.sheet_row("", found.path, float(times[0].min()), float(times[1].max()), "the query"), *sheet]
    asked = f'"{query}"' if in_words else Path(found.path).name
    title = f"{asked}: the most similar of {things(len(index.videos), 'video')}, {by} by {by}"
    place = Path(out) if out else Path("search") / (re.sub(r"\W+", "_", query) if in_words else Path(query).stem)
    files = hits.write(place, summary | {"hits": rows}, title, sheet, "search")
    _print(rows, summary | {"hits": rows}, files, as_json)
    if share is not None:
        Console(stderr=True).print(
            f"usearch finds {100 * share:.1f} % of the {top} nearest that exact search finds", highlight=False
        )
    return 0


def recommend(
    folder: str,
    liked: Sequence[str],
    disliked: Sequence[str] = (),
    *,
    top: int = 10,
    run: str = "",
    out: str = "recommend",
    as_json: bool = False,
) -> int:
    """Find the videos of an index that resemble liked ones rather than disliked ones, and draw them.

    Args:
      folder: folder of the index.
      liked, disliked: video files, in the index or not; they are not recommended themselves.
      top: number of videos to find.
      run: folder of the network's checkpoint, if it has moved.
      out: folder for `recommend.png` and `recommend.json`.
      as_json: print JSON instead of a table.

    Raises:
      VectorsError: if the index cannot be used, another network made it, or a video cannot be read.
    """
    index = read_index(folder)
    queries, width = Queries(index, run), index.origin.width
    means = [[queries(path).vectors.mean(axis=0) for path in paths] for paths in (liked, disliked)]  # type: ignore[union-attr]
    own = [number for path in (*liked, *disliked) if (number := index.find(path)) is not None]
    query = rocchio(np.stack(means[0]), np.stack(means[1]) if means[1] else np.empty((0, width), np.float32))
    matches = match_videos(index, query, top, own)
    rows = hits.entries(index, matches, None)
    summary = {
        "liked": list(liked),
        "disliked": list(disliked),
        "index": str(index.folder),
        "model": index.origin.words,
    }
    examples = [hits.sheet_row("liked:", path, 0, np.inf) for path in liked[:4]]
    examples += [hits.sheet_row("disliked:", path, 0, np.inf) for path in disliked[:4]]
    title = f"recommended of {things(len(index.videos), 'video')}, for {len(liked)} liked and {len(disliked)} disliked"
    files = hits.write(Path(out), summary | {"hits": rows}, title, [*examples, *_sheet(rows)], "recommend")
    _print(rows, summary | {"hits": rows}, files, as_json)
    return 0


def duplicates(
    folder: str,
    *,
    threshold: float = THRESHOLD,
    overlap: float = OVERLAP,
    out: str = "duplicates",
    as_json: bool = False,
) -> int:
    """Find the videos of an index that show the same pictures, and draw them.

    Args:
      folder: folder of an index of clips.
      threshold: least mean cosine of the clips along the overlap.
      overlap: least overlap, as a share of the shorter video.
      out: folder for `duplicates.png` and `duplicates.json`.
      as_json: print JSON instead of a table.

    Raises:
      VectorsError: if the index cannot be used.
      UserError: if it has one vector per video, which tells no offset.
    """
    index = read_index(folder)
    if index.origin.per != "clip":
        raise UserError(f"{folder} has one vector per video; offsets need those of clips: embed anew with --per clip")
    with progress_bar(Console(stderr=True)) as bar:
        task = bar.add_task("compare", total=None, info="")

        def shown(batches: Iterable[int]) -> Iterator[int]:
            yield from bar.track(batches, task_id=task)

        pairs = find_duplicates(index, threshold, overlap, shown)
    together = groups(pairs)
    rows = [_pair(index, pair) for pair in pairs]
    summary: dict[str, Any] = {"index": str(index.folder), "model": index.origin.words, "threshold": threshold}
    summary |= {"overlap": overlap, "num_videos": len(index.videos), "pairs": rows}
    summary["groups"] = [[index.videos[number].path for number in group] for group in together]
    where = Path(out)
    sheet = [row for pair in pairs[:_SHOWN] for row in _both(index, pair)]
    title = f"{things(len(pairs), 'pair')} of near-duplicates among {things(len(index.videos), 'video')}"
    if sheet:
        hits.write(where, summary, title, sheet, "duplicates")
    if as_json:
        print(json.dumps(summary, indent=2, ensure_ascii=False))
        return 0
    console = Console()
    if rows:
        table = Table("video", "the same as", "offset", "overlap", "similarity")
        for row in rows[:_SHOWN]:
            common = f"{hits.span(row['start'], row['end'])} ({100 * row['share']:.0f} %)"
            table.add_row(
                escape(row["first"]),
                escape(row["second"]),
                f"{row['offset']:+.2f} s",
                common,
                f"{row['similarity']:.3f}",
            )
        console.print(table)
    more = f", {_SHOWN} of them shown" if len(rows) > _SHOWN else ""
    told = f"{title}{more}, in {things(len(together), 'group')}" if rows else title
    console.print(f"{told}{f'; {where}/duplicates.png and .json' if rows else ''}", highlight=False, soft_wrap=True)
    return 0


def _approximate(index: Index) -> Any:
    def search(vectors: np.ndarray, queries: np.ndarray, top: int) -> Any:
        del vectors  # the graph holds them
        return approximate.approximate_search(index, queries, top)

    return search


def _sheet(rows: Sequence[dict[str, Any]]) -> list[Any]:
    return [
        hits.sheet_row(
            f"{place}.",
            row["path"],
            row["start"],
            row["end"],
            f"similarity {row['score']:.3f}",
            hits.span(row["start"], row["end"]),
        )
        for place, row in enumerate(rows, 1)
    ]


def _print(rows: Sequence[dict[str, Any]], summary: dict[str, Any], files: Sequence[Path], as_json: bool) -> None:
    if as_json:
        print(json.dumps(summary, indent=2, ensure_ascii=False))
        return
    console = Console()
    hits.show(rows, console)
    console.print(f"written to {' and '.join(map(str, files))}", highlight=False, soft_wrap=True)


def _pair(index: Index, pair: Duplicate) -> dict[str, Any]:
    names = {"first": index.videos[pair.first].path, "second": index.videos[pair.second].path}
    figures = {name: round(getattr(pair, name), 4) for name in ("offset", "similarity", "start", "end", "share")}
    return names | figures


def _both(index: Index, pair: Duplicate) -> Iterator[Any]:
    first, second = index.videos[pair.first].path, index.videos[pair.second].path
    common = pair.start, pair.end
    yield hits.sheet_row("", first, *common, f"similarity {pair.similarity:.3f}", hits.span(*common))
    shifted = pair.start + pair.offset, pair.end + pair.offset
    yield hits.sheet_row("=", second, *shifted, f"offset {pair.offset:+.2f} s", hits.span(*shifted))
