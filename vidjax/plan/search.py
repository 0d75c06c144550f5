"""Search for the fastest mesh, remat and batch size of a training on given devices."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from rich.console import Console
from rich.table import Table

from vidjax import config as cfg
from vidjax.config.choices import REMAT
from vidjax.parallel import mesh_sizes, mesh_words
from vidjax.plan.estimates import UNRESOLVED, DataFacts, DoesNotFitError, Target, at_pace
from vidjax.progress import progress_bar
from vidjax.wording import duration, things

FACTORS = (2, 4, 8)  # factors of the batch size, upwards and downwards


@dataclass(frozen=True)
class Candidate:
    """Settings to try: devices of the axes data, fsdp and model, remat (see `REMAT`), and videos per update."""

    mesh: tuple[int, int, int]
    remat: str
    batch_size: int

    def apply(self, config: cfg.Config) -> cfg.Config:
        """A copy of `config` with these settings."""
        config = copy.deepcopy(config)
        config.mesh = replace(config.mesh, **dict(zip(("data", "fsdp", "model"), self.mesh, strict=True)))
        config.model.remat = self.remat
        config.train.batch_size = self.batch_size
        return config

    def flags(self, config: cfg.Config) -> str:
        """Command-line flags that change `config` to these settings."""
        flags = [f"--config.mesh.{a}={n}" for a, n in zip(("data", "fsdp", "model"), self.mesh, strict=True)]
        if self.remat != config.model.remat:
            flags.append(f"--config.model.remat={self.remat or repr('')}")
        if self.batch_size != config.train.batch_size:
            flags.append(f"--config.train.batch_size={self.batch_size}")
        return " ".join(flags)


def meshes(config: cfg.MeshConfig, count: int) -> list[tuple[int, int, int]]:
    """Layouts of `count` devices as (data, fsdp, model): that of `config`, if it uses all, and the usual ones."""
    own = tuple(mesh_sizes(count, config.data, config.fsdp, config.model).values())
    wanted = [own, (count, 1, 1), (1, count, 1), (count // 8, 8, 1), (count // 2, 1, 2), (1, count // 2, 2)]
    return list(dict.fromkeys(mesh for mesh in wanted if math.prod(mesh) == count))


@dataclass
class _Book:
    """Record of the settings tried, and their results."""

    target: Target
    config: cfg.Config
    facts: DataFacts
    clips_per_core: float
    watch: Callable[[Candidate, int], None]  # called before every attempt, with the number compiled so far
    left: int = 0  # attempts that may still be compiled
    compiled: int = 0
    plans: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    full: list[tuple[Candidate, str | None]] = field(default_factory=list)  # too large with this remat; None: with any

    def fits(self, mesh: tuple[int, int, int], batch_size: int) -> bool:
        """Whether the batch fits with any remat; the one with the least recomputation is kept."""
        # Nothing is kept for the backward pass of a probe's frozen network.
        for remat in ("",) if self.config.model.probe else REMAT:
            candidate = Candidate(mesh, remat, batch_size)
            if self._hopeless(candidate):
                continue
            if self.left <= 0:
                self._reject(candidate, "not tried: --most")
                return False
            self.watch(candidate, self.compiled)
            if self._try(candidate):
                return True
        return False

    def _hopeless(self, candidate: Candidate) -> bool:
        """Whether a candidate at least as small (same mesh, remat and batch) already failed to fit, or none can."""
        return any(
            one.mesh == candidate.mesh and remat in (None, candidate.remat) and one.batch_size <= candidate.batch_size
            for one, remat in self.full
        )

    def _try(self, candidate: Candidate) -> bool:
        compiled = 1
        try:
            figures = self.target.figures(candidate.apply(self.config), self.facts, self.clips_per_core)
            memory = figures["memory"]
            reason = f"takes {memory['total'] / 2**30:.1f} GiB of {memory['usable'] / 2**30:.2f} per device"
        except DoesNotFitError as error:
            figures, reason, compiled = {"fits": False}, str(error), int(error.compiled)
        except cfg.ConfigError as error:
            self._reject(candidate, str(error))
            return False
        self.compiled += compiled
        self.left -= compiled
        if not figures["fits"]:
            self.full.append((candidate, candidate.remat if compiled else None))
            self._reject(candidate, reason)
            return False
        same = candidate.batch_size == self.config.train.batch_size
        self.plans.append(figures | {"flags": candidate.flags(self.config), "same_batch": same})
        return True

    def _reject(self, candidate: Candidate, reason: str) -> None:
        data, fsdp, model = candidate.mesh
        self.rejected.append(
            {
                "mesh": {"data": data, "fsdp": fsdp, "model": model},
                "remat": candidate.remat,
                "batch_size": candidate.batch_size,
                "reason": reason,
            }
        )


def search(
    target: Target,
    config: cfg.Config,
    facts: DataFacts,
    clips_per_core: float,
    *,
    most: int,
    console: Console,
) -> dict[str, Any]:
    """Try settings, and sort those that fit by clips per second.

    First the config's batch is tried on every mesh, with at most half of the attempts: without remat and, if that does
    not fit, with more and more of it. Then the best mesh gets twice the batch, and so on until it does not fit, and
    half of the batch; if no mesh fits, ever smaller batches are tried on the mesh that splits the state most.

    Args:
      target: devices to plan for.
      config: config of the training.
      facts: facts of its data set.
      clips_per_core: clips/s that one core of the hosts decodes.
      most: most settings to compile.
      console: console for the progress bar.

    Returns:
      "target"; "plans": figures and "flags" of settings that fit, best first, with "same_batch", whether they keep the
      recipe; "rejected": the other settings, each with a "reason".
    """
    with progress_bar(console) as bar:
        task = bar.add_task(f"plans for {target.name}", total=most, info="")

        def watch(candidate: Candidate, compiled: int) -> None:
            info = f"mesh {candidate.mesh}, remat {candidate.remat or 'no'}, batch {candidate.batch_size}"
            bar.update(task, completed=compiled, info=info)

        book = _Book(target, config, facts, clips_per_core, watch, left=(most + 1) // 2)
        layouts = meshes(config.mesh, target.count)
        # The config's batch, or the next larger one that can be split over all devices.
        unit = target.count * config.train.accumulate
        size = -(-config.train.batch_size // unit) * unit
        for mesh in layouts:
            book.fits(mesh, size)
        book.left += most // 2
        best = max(book.plans, key=lambda plan: plan["clips_per_s"], default=None)
        mesh = tuple(best["mesh"].values()) if best else max(layouts, key=lambda m: m[1])
        for factor in FACTORS if best else ():
            if not book.fits(mesh, size * factor):
                break
        for factor in FACTORS[:1] if best else FACTORS:
            smaller, rest = divmod(size, factor)
            if rest or smaller % (mesh[0] * mesh[1] * config.train.accumulate) or book.fits(mesh, smaller):
                break
    plans = sorted(_rising(book.plans), key=lambda plan: -plan["clips_per_s"])
    return {"target": target.name, "model": config.model.name, "plans": plans, "rejected": book.rejected}


def _rising(plans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`plans`, with unresolved ones made no faster than the same settings with fewer videos.

    For few videos per device, the compiler generates other, and often more, kernels than for many.
    """
    longest: dict[tuple[Any, ...], float] = {}
    risen = []
    for plan in sorted(plans, key=lambda plan: plan["batch_size"]):
        key = (*plan["mesh"].values(), plan["remat"])
        step = plan["seconds"]["step"]
        if not plan["resolved"] and step < longest.get(key, 0.0):
            plan = at_pace(plan, longest[key])
        longest[key] = plan["seconds"]["step"]
        risen.append(plan)
    return risen


def show(result: dict[str, Any], console: Console) -> None:
    """Print the table, the settings that did not fit, and the flags of the best."""
    table = Table(
        "data × fsdp × model", "remat", "batch", "GiB", "step ms", "clips/s", "MFU", "run", title=_title(result)
    )
    for plan in result["plans"]:
        table.add_row(
            " × ".join(map(str, plan["mesh"].values())),
            plan["remat"] or "no",
            f"{plan['batch_size']}{'' if plan['same_batch'] else ' *'}",
            f"{plan['memory']['total'] / 2**30:.2f}",
            f"{'' if plan['resolved'] else '~'}{1e3 * plan['seconds']['step']:.1f}",
            f"{plan['clips_per_s']:.0f}",
            f"{100 * plan['mfu']:.1f} %",
            duration(plan["hours"]),
        )
    console.print(table)
    if any(not plan["same_batch"] for plan in result["plans"]):
        console.print(
            "* another batch size than the config's is another recipe: the learning rate follows it only where "
            "config.optimizer.base_batch is set, and accuracy may change",
            highlight=False,
        )
    if not all(plan["resolved"] for plan in result["plans"]):
        console.print(f"~ {UNRESOLVED}", highlight=False)
    if result["rejected"]:
        console.print(f"{things(len(result['rejected']), 'setting')} left out:", highlight=False)
    for one in result["rejected"]:
        console.print(
            f"  {mesh_words(one['mesh'])}, remat {one['remat'] or 'no'}, batch {one['batch_size']}: {one['reason']}",
            highlight=False,
            soft_wrap=True,
        )
    best = result["plans"][:1]
    kept = [plan for plan in result["plans"] if plan["same_batch"]][:1]
    for words, plans in (("best with the config's batch", kept), ("best", best if best != kept else [])):
        for plan in plans:
            doubt = "" if plan["resolved"] else ", as far as the estimate resolves"
            console.print(f"{words}{doubt}: {plan['flags']}", highlight=False, soft_wrap=True)


def _title(result: dict[str, Any]) -> str:
    fit = things(len(result["plans"]), "setting that fits", "settings that fit")
    return f"{result['model']} on {result['target']}: {fit}, estimated"
