"""The stage: a run, or all runs of a dataset -> a folder of figures, which replaces an older one as a whole."""

import logging
from collections.abc import Sequence
from pathlib import Path

from tam import manifest
from tam.errors import InputError
from tam.figures import data, drawing
from tam.figures.curves import faithfulness_curves
from tam.figures.files import save
from tam.metrics.catalogue import FAITHFULNESS
from tam.run import RunFiles, main_method
from tam.run import titles as run_titles
from tam.system.atomic import atomic_folder
from tam.system.mark import Mark, check_replaceable

log = logging.getLogger(__name__)
ROWS, STRIP, TRIED = 4, 9, 20  # words of a grid, of a strip; samples tried for a comparison
MARK: Mark = {"kind": "figures"}


def write_figures(run: RunFiles, out: Path, methods: Sequence[str] | None = None) -> list[Path]:
    """Draw all figures of a run that its data allow.

    Args:
        methods: these, in this order; None: all of the run's files.

    Returns:
        the files written. What could not be drawn is logged.

    Raises:
        InputError, SchemaError: as ``run.titles``. DiskError: ``out`` is not a folder of figures, or the disk is full.
    """
    check_replaceable(out, MARK)
    titles = run_titles(run, methods)
    main = main_method(titles)
    listed = manifest.read(run.samples_file)
    samples = {sample.id: sample for sample in listed}
    table = data.read_metrics(run)
    words = data.scored_words(table, titles)
    worst = data.lowest(words[words.method == main])
    shown = data.example(table, samples)
    several = {kind: data.first_of(samples, table, kind) for kind in ("video", "images")}
    wanted = {id for id in (shown, *several.values(), *worst["sample"]) if id is not None}
    shards = sorted(set(table[table["sample"].isin(wanted)].shard))
    drawn = {one.sample.id: one for one in data.load(run, listed, wanted, titles, shards)}

    written: list[Path] = []
    with atomic_folder(out, MARK) as part:
        if shown in drawn:
            rows = table[table["sample"] == shown]
            chosen = data.compared_words(rows)
            scores = words[words["sample"] == shown]
            written += save(drawing.methods_grid(drawn[shown], chosen, scores), part / "methods")
            strip = data.chosen_words(rows, STRIP).sort_values("token")
            written += save(drawing.token_strip(drawn[shown], main, strip), part / "tokens")
        about = next((id for id in (shown, *several.values()) if id in drawn), None)
        if about is not None:
            written += save(drawing.correlation(drawn[about]), part / "correlation")
        for kind, id in several.items():
            if id in drawn and (tokens := data.unscored_words(drawn[id], ROWS)):
                written += save(drawing.panel_grid(drawn[id], main, tokens), part / kind)
        if not words.empty:
            written += save(drawing.distributions(words, titles, main), part / "scores", drawing.CLOUD)
        for baseline in FAITHFULNESS:
            if (curves := faithfulness_curves(table, titles, main, baseline)) is not None:
                written += save(curves, part / f"faithfulness_{baseline}")
        failures = [(drawn[row.sample], row) for row in worst.itertuples() if row.sample in drawn]
        if failures:
            written += save(drawing.failure_cases(failures, main), part / "failures")
    for name in ("methods", "scores", "failures"):
        if not any(path.stem == name for path in written):
            log.warning("no figure '%s': there is no scored word for it", name)
    return [out / path.name for path in written]


def write_comparison(runs: Sequence[RunFiles], out: Path) -> list[Path]:
    """Draw ``models``: one sample with the maps of several models, a row a model.

    Args:
        runs: of one dataset.

    Returns:
        the files written; none, with a line in the log, where no sample has maps from all models.

    Raises:
        InputError: no runs, or of several datasets. InputError, SchemaError: as ``run.titles``.
        DiskError: ``out`` is not a folder of figures, or the disk is full.
    """
    check_replaceable(out, MARK)
    if len({run.dataset for run in runs}) != 1:
        got = " and ".join(dict.fromkeys(run.dataset for run in runs)) or "none"
        raise InputError("models of one dataset are compared", got=got)
    titles = [run_titles(run) for run in runs]
    shared = {method: title for method, title in titles[0].items() if all(method in others for others in titles)}
    if not shared:
        raise InputError("models without a method in common", where=out, got=[[*each] for each in titles])
    main = main_method(shared)
    listed = manifest.read(runs[0].samples_file)
    tables = [data.read_metrics(run) for run in runs]
    for id in data.shared_samples(tables, {sample.id: sample for sample in listed})[:TRIED]:
        found: list[data.Drawn] = []
        for run, table in zip(runs, tables, strict=True):
            shards = sorted(set(table[table["sample"] == id].shard))
            found += data.load(run, listed, {id}, {main: shared[main]}, shards)
        if len(found) == len(runs):
            models = {
                run.model: (drawn, table[(table["sample"] == id) & (table.method == main)])
                for run, drawn, table in zip(runs, found, tables, strict=True)
            }
            with atomic_folder(out, MARK) as part:
                written = save(drawing.comparison(models, main, ROWS), part / "models")
            return [out / path.name for path in written]
    with atomic_folder(out, MARK):
        log.warning("no figure 'models': no sample has maps from all models")
    return []
