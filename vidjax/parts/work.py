"""Work over many inputs in shards: what is done is what is written, and a killed process loses one shard at most.

Inputs in a fixed order are divided into shards of a fixed size. Several processes, on one machine or many, take every
n-th shard each; they need not know of each other. Each shard is written as one file, which appears whole. The same
command again, with any number of processes, does the shards that have no file.
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from vidjax.errors import UserError
from vidjax.parts.folder import PartFolder

PLAN = "_plan.json"  # readers of folders of Parquet files pass over names that begin so, or with a dot
FORMAT = 1

I = TypeVar("I")  # noqa: E741 - an input
R = TypeVar("R")  # its row


class PlanError(UserError):
    """Error: a folder holds parts of other work; the message names what differs."""


@dataclass(frozen=True)
class Plan:
    """Division of a list of inputs into shards, and what is computed of them.

    Attributes:
      inputs: number of inputs.
      digest: digest of the list of inputs, in their order.
      shard_size: inputs of a shard; the last one may have fewer.
      origin: what makes the rows, such as the network and its settings, as plain values; two plans with other values of
        it cannot share a folder.
      told: further values, for people, that may differ.
    """

    inputs: int
    digest: str
    shard_size: int
    origin: dict[str, Any]
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.inputs // self.shard_size)

    def part(self, shard: int) -> str:
        """Name of the file of a shard."""
        return f"part-{shard:05d}-of-{self.shards:05d}.parquet"

    def of(self, inputs: Sequence[I], shard: int) -> Sequence[I]:
        """Inputs of a shard."""
        return inputs[shard * self.shard_size : (shard + 1) * self.shard_size]

    def own(self, rank: int, count: int) -> range:
        """Shards of process `rank` of `count`."""
        return range(rank, self.shards, count)

    def claim(self, folder: PartFolder) -> None:
        """Write the plan to a folder, or check that the one there is the same.

        Raises:
          PlanError: if the folder has another plan, or other files.
        """
        folder.make()
        names = folder.names()
        if PLAN in names:
            self._compare(folder)
        elif others := [name for name in names if not name.startswith(".")]:
            raise PlanError(
                f"{folder} holds other files ({others[0]}, …): give a new folder, or that of the same command"
            )
        else:
            text = json.dumps({"format": FORMAT} | asdict(self), indent=2, ensure_ascii=False) + "\n"
            folder.write(PLAN, text.encode())

    def _compare(self, folder: PartFolder) -> None:
        try:
            there = json.loads(folder.read(PLAN))
            number = there.pop("format")
            if number > FORMAT:
                raise PlanError(
                    f"{folder}/{PLAN} has format {number}, this version reads up to {FORMAT}: install a newer one"
                )
            before = Plan(**there)
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, UserError):
                raise
            raise PlanError(f"{folder}/{PLAN} is damaged ({error}); remove the folder and begin anew") from None
        mine, theirs = (json.loads(json.dumps(asdict(each))) for each in (self, before))
        changed = [f"{n}: {theirs[n]} there, {mine[n]} now" for n in ("inputs", "shard_size") if mine[n] != theirs[n]]
        if mine["digest"] != theirs["digest"] and self.inputs == before.inputs:
            changed.append("other inputs, or in another order")
        for name in mine["origin"].keys() | theirs["origin"].keys():
            old, new = theirs["origin"].get(name), mine["origin"].get(name)
            if old != new:
                changed.append(f"{name}: {_short(old)} there, {_short(new)} now")
        if changed:
            raise PlanError(
                f"{folder} holds the parts of other work ({'; '.join(changed)}): repeat that, or give a new folder"
            )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 80 else f"{text[:80]}…"


def in_shards(inputs: Sequence[I], size: int) -> Iterator[Sequence[I]]:
    """Divide inputs into shards of a size; the last one may be smaller."""
    return (inputs[first : first + size] for first in range(0, len(inputs), size))


def digest(lines: Iterable[str]) -> str:
    """Digest of a list, 32 hexadecimal digits."""
    found = hashlib.blake2b(digest_size=16)
    for line in lines:
        found.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return found.hexdigest()


def work(
    shards: Iterable[tuple[int, Sequence[I]]],
    compute: Callable[[Iterable[I]], Iterator[R]],
    save: Callable[[int, Sequence[I], list[R]], None],
    advance: Callable[[], None] = lambda: None,
    *,
    keep_unfinished: bool = False,
) -> None:
    """Compute a row of each input of the shards, and save each shard as soon as it is whole.

    Args:
      shards: number and inputs of each shard.
      compute: function from inputs to their rows, in the same order; it may take inputs ahead, also of later shards.
      save: function that writes the rows of a shard.
      advance: called after every row.
      keep_unfinished: whether to save the rows of a shard that is interrupted by Ctrl-C.
    """
    one, two = itertools.tee(shards)
    rows = compute(itertools.chain.from_iterable(inputs for _, inputs in one))
    for number, inputs in two:
        found: list[R] = []
        try:
            for row in itertools.islice(rows, len(inputs)):
                found.append(row)
                advance()
        except KeyboardInterrupt:
            if keep_unfinished and found:
                save(number, inputs[: len(found)], found)
            raise
        if len(found) != len(inputs):
            raise RuntimeError(f"{len(found)} rows of {len(inputs)} inputs")
        save(number, inputs, found)
