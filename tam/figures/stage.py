"""The stage: a run, or all runs of a dataset -> a folder of figures."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tam import manifest
from tam.errors import InputError
from tam.figures import data, drawing
from tam.figures.drawing import save

log = logging.getLogger(__name__)
ROWS, STRIP, TRIED = 4, 9, 20  # words of a grid, of a strip; samples tried for a comparison


def write_figures(run: Path, manifest_path: Path, out: Path) -> list[Path]:
    """Draw all figures of a run that its data allow.

    Args:
        run: folder with generate/SHARD.h5, maps/METHOD/SHARD.h5 and metrics/METHOD/SHARD.parquet.

    Returns:
        the files written. What could not be drawn is logged.

    Raises:
        InputError: there are no metrics.
    """
    out.mkdir(parents=True, exist_ok=True)
    samples = {sample.id: sample for sample in manifest.read(manifest_path)}
    table = data.read_metrics(run / "metrics")
    methods = _methods(run, table)
    words, main = data.scored_words(table), data.main_method(methods)
    worst = data.lowest(words[words.method == main])
    shown = data.example(table, samples)
    several = {kind: data.first_of(samples, table, kind) for kind in ("video", "images")}
    wanted = {id for id in (shown, *several.values(), *worst["sample"]) if id is not None}
    shards = sorted(set(table[table["sample"].isin(wanted)].shard))
    drawn = dict(data.load(run, manifest_path, {id: samples[id] for id in wanted}, methods, shards))

    written: list[Path] = []
    if shown in drawn:
        rows = table[table["sample"] == shown]
        chosen = data.chosen_words(rows, ROWS)
        written += save(drawing.methods_grid(drawn[shown], chosen, words[words["sample"] == shown]), out / "methods")
        strip = data.chosen_words(rows, STRIP).sort_values("token")
        written += save(drawing.token_strip(drawn[shown], main, strip), out / "tokens")
    about = next((id for id in (shown, *several.values()) if id in drawn), None)
    if about is not None:
        written += save(drawing.correlation(drawn[about]), out / "correlation")
    for kind, id in several.items():
        if id in drawn and (tokens := data.unscored_words(drawn[id], ROWS)):
            written += save(drawing.panel_grid(drawn[id], main, tokens), out / kind)
    if not words.empty:
        written += save(drawing.distributions(words), out / "scores")
    failures = [row for row in worst.itertuples() if row.sample in drawn]
    if failures:
        written += save(drawing.failure_cases([(drawn[row.sample], row) for row in failures], main), out / "failures")
    for name in ("methods", "scores", "failures"):
        if not any(path.stem == name for path in written):
            log.warning("no figure '%s': there is no scored word for it", name)
    return written


def write_comparison(runs: Sequence[Path], manifest_path: Path, out: Path) -> list[Path]:
    """Draw ``models``: one sample with the maps of several models, a row a model.

    Args:
        runs: folders of runs on the same dataset, named after their models.

    Returns:
        the files written; none, with a line in the log, where no sample has maps from all models.

    Raises:
        InputError: no runs, or one without metrics.
    """
    if not runs:
        raise InputError("no runs to compare")
    out.mkdir(parents=True, exist_ok=True)
    samples = {sample.id: sample for sample in manifest.read(manifest_path)}
    tables = [data.read_metrics(run / "metrics") for run in runs]
    methods = [_methods(run, table) for run, table in zip(runs, tables, strict=True)]
    main = data.main_method([method for method in methods[0] if all(method in others for others in methods)])
    for id in data.shared_samples(tables, samples)[:TRIED] if main else ():
        found = []
        for run, table in zip(runs, tables, strict=True):
            shards = sorted(set(table[table["sample"] == id].shard))
            found += [drawn for _, drawn in data.load(run, manifest_path, {id: samples[id]}, [main], shards)]
        if len(found) == len(runs):
            models = {
                run.name: (drawn, table[(table["sample"] == id) & (table.method == main)])
                for run, drawn, table in zip(runs, found, tables, strict=True)
            }
            return save(drawing.comparison(models, main, ROWS), out / "models")
    log.warning("no figure 'models': no sample has maps from all models")
    return []


def _methods(run: Path, table: pd.DataFrame) -> list[str]:
    return [method for method in table.method.unique() if (run / "maps" / method).is_dir()]
