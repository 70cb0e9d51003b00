"""``python -m benchmarks.gpu.report [FOLDER…]``: from bundles to data, plots and the page.

For whoever brings bundles of a GPU host:

1. Put the bundles of one host and model into a folder, with ``price.json`` and ``references.json``
   of the campaign beside them where there are any. The folder's name becomes a part of every
   bundle's name, so call it after what ran there, e.g. ``h100-1.5b``.
2. ``python -m benchmarks.gpu.report --catalogue FOLDER`` writes ``FOLDER/bundles.toml`` with a
   table for every bundle; say in it what each bundle and each arm is
   (:mod:`benchmarks.gpu.catalogue`). It is never written over.
3. ``python -m benchmarks.gpu.report FOLDER…`` judges every bundle again, writes summaries,
   calibrations and simulated contests into ``benchmarks/data/gpu`` (what lies there of other
   folders stays), and then the plots and ``docs/calibration.md``. Simulating takes minutes;
   ``--contests 100`` is a quick look. Without a folder only plots and page are written, from the
   data that is there: after a change to ``benchmarks/gpu/contradictions.md``, for instance.
4. Write into ``benchmarks/gpu/contradictions.md`` where the figures contradict what was assumed.
5. To ship a calibration, copy what ``--gates`` prints into the policy's track, as
   ``benchmarks/gpu/trial.toml`` has it.
6. ``python -m benchmarks.gpu.kept --into gpu/FOLDER BUNDLE…`` puts small bundles into
   ``tests/data``. Their ``bundles.toml`` goes beside them, so that step 3 can be done again from
   there; those of bundles that are too large to keep lie in ``benchmarks/gpu/catalogues``.
7. ``make bench ONLY=false_crowns`` and ``ONLY=smallest_gain_95`` have rows for the new pools.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.gpu.beside import keep_beside
from benchmarks.gpu.calibrations import (
    Gathering,
    calibration_for,
    facts_of,
    read_calibrations,
    write_calibrations,
)
from benchmarks.gpu.catalogue import CatalogueError, read_catalogue, write_catalogue
from benchmarks.gpu.extract import summary_of
from benchmarks.gpu.measured import read_measured
from benchmarks.gpu.page import PAGE, PLOTS, WRITTEN, page_of, plots_of
from benchmarks.gpu.power import CONTESTS, powers_of, write_powers
from benchmarks.gpu.summary import DATA, read_summaries, write_summary
from benchmarks.measuring import tell
from evaluation.bundle import Bundle, BundleError, read_bundle
from evaluation.calibrated_gates import CALIBRATED


def main(words: Sequence[str] | None = None) -> int:
    """Do what was asked for; 1 for a folder or a bundle that cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", metavar="FOLDER", nargs="*", type=Path)
    parser.add_argument("--contests", metavar="N", type=int, default=CONTESTS)
    parser.add_argument("--catalogue", action="store_true", help="write missing bundles.toml")
    parser.add_argument("--gates", action="store_true", help="print each calibration's gates")
    parser.add_argument("--data", type=Path, default=DATA, help=argparse.SUPPRESS)
    parser.add_argument("--page", type=Path, default=PAGE, help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    try:
        if asked.catalogue:
            for folder in asked.folders:
                write_catalogue(folder)
            return 0
        if asked.folders:
            keep_folders(asked.folders, asked.data, asked.contests)
    except (CatalogueError, BundleError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if asked.gates:
        sys.stdout.write(gates_text(asked.data))
        return 0
    write_page(asked.data, asked.page)
    return 0


def keep_folders(folders: Sequence[Path], data: Path = DATA, contests: int = CONTESTS) -> None:
    """Write what these folders' bundles say into ``data``.

    Every bundle is read twice, so that one at a time is in memory: first for the calibrations, then
    for the summaries, whose entrants are judged under those too. Raises
    :class:`~benchmarks.gpu.catalogue.CatalogueError` and :class:`~evaluation.bundle.BundleError`.
    """
    data.mkdir(parents=True, exist_ok=True)
    gathering = Gathering()
    listed = [
        (folder, name, entry)
        for folder in folders
        for name, entry in read_catalogue(folder).items()
    ]
    for folder, name, entry in listed:
        if entry.may_calibrate:
            gathering.add(entry, _read(folder, name))
    write_calibrations(gathering.calibrations(), data)
    calibrations = list(read_calibrations(data).values())
    for folder, name, entry in listed:
        bundle = _read(folder, name)
        held = calibration_for(facts_of(entry, bundle), calibrations)
        gates = None if held is None else held.gates
        write_summary(summary_of(f"{folder.resolve().name}-{name}", entry, bundle, gates), data)
    for folder in folders:
        keep_beside(folder.resolve().name, folder, data)
    tell("simulating contests under the measured noise")
    write_powers(powers_of(read_summaries(data), contests), data)


def _read(folder: Path, name: str) -> Bundle:
    tell(f"{folder.name}/{name}.zip")
    return read_bundle(folder / f"{name}.zip")


def write_page(data: Path = DATA, page: Path = PAGE, written: Path = WRITTEN) -> None:
    """Write page and plots from ``data`` alone; a plot of nothing is removed."""
    found = read_measured(data)
    page.write_text(page_of(found, written.read_text(encoding="utf-8")), encoding="utf-8")
    plots = plots_of(found)
    for path in (path for pattern in PLOTS for path in page.parent.glob(pattern)):
        if path.name not in plots:
            path.unlink()
    for name, plot in plots.items():
        page.with_name(name).write_text(plot, encoding="utf-8")


def gates_text(data: Path = DATA) -> str:
    """For every calibration the lines of a policy's TOML that adopt it, under the track's name as
    the calibration has it."""
    text = ""
    for digest, one in read_calibrations(data).items():
        limits = msgspec.structs.asdict(one.gates)
        text += f"# {one.facts.model}, {one.facts.gpu or 'no GPU'}, {one.facts.engine}\n"
        text += f'calibration = "{digest}"\n\n[tracks."{one.track}".gates]\n'
        text += "".join(f"{name} = {limits[name]:_}\n" for name in CALIBRATED) + "\n"
    return text


if __name__ == "__main__":
    sys.exit(main())
