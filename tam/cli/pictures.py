"""Maps to look at: drawings, figures and a page; and for other programs to read."""

from pathlib import Path
from typing import Annotated

import typer

from tam.cli.options import ManifestFile, MetricsFiles, ShownMethods, Strict, name_in_files
from tam.cli.output import report, writable
from tam.errors import InputError

commands = typer.Typer()

GenerationFiles = Annotated[
    list[Path], typer.Option("--generation", help="Caches that `tam generate` wrote; once per shard of each run.")
]
MapsFiles = Annotated[list[Path], typer.Option("--maps", help="Their maps, in the same order.")]


@commands.command()
def render(
    generation: GenerationFiles,
    maps: MapsFiles,
    manifest: ManifestFile,
    method: Annotated[str, typer.Option(help="Whose maps are drawn.", callback=name_in_files)],
    out: Annotated[Path, typer.Option(help="Folder; a folder per sample appears in it.", callback=writable)],
    sample: Annotated[list[str] | None, typer.Option(help="Sample id, once per sample; all without it.")] = None,
    colormap: Annotated[str, typer.Option(help="'jet', 'viridis', 'magma' or 'cividis'.")] = "jet",
    outline: Annotated[bool, typer.Option("--outline", help="Draw the edges of the mask's objects.")] = False,
    strict: Strict = False,
) -> None:
    """Draw overlays and token text of chosen samples."""
    from tam.render.sample import Look
    from tam.render.stage import render
    from tam.run import inputs
    from tam.system.damage import set_aside

    with set_aside(out, inputs(generation=generation, maps=maps)):
        counts = render(generation, maps, method, manifest, sample, out, Look(colormap, outline))
    report(counts, out, strict)


@commands.command()
def figures(
    generation: GenerationFiles,
    maps: MapsFiles,
    metrics: MetricsFiles,
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="Folder for the figures.", callback=writable)],
    method: ShownMethods = None,
) -> None:
    """Draw the figures of a run: methods side by side, tokens, correlations, scores, failures, videos."""
    from tam.figures.stage import write_figures
    from tam.run import inputs, runs_of
    from tam.system.damage import set_aside

    files = {"generation": generation, "maps": maps, "metrics": metrics}
    first, *others = runs_of(manifests=[manifest], **files)
    if others:
        raise InputError("figures are of one run", got=" and ".join(run.name for run in (first, *others)))
    with set_aside(out, inputs(**files)):
        write_figures(first, out, method)


@commands.command()
def compare(
    generation: GenerationFiles,
    maps: MapsFiles,
    metrics: MetricsFiles,
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="Folder for the figure.", callback=writable)],
) -> None:
    """Draw one sample with the maps of several models, a row a model."""
    from tam.figures.stage import write_comparison
    from tam.run import inputs, runs_of
    from tam.system.damage import set_aside

    files = {"generation": generation, "maps": maps, "metrics": metrics}
    with set_aside(out, inputs(**files)):
        write_comparison(runs_of(manifests=[manifest], **files), out)


@commands.command()
def page(
    generation: GenerationFiles,
    maps: MapsFiles,
    metrics: MetricsFiles,
    manifest: Annotated[list[Path], typer.Option(help="The manifest DATASET/manifest.jsonl of each dataset.")],
    out: Annotated[
        Path, typer.Option(help="Folder for index.html and the folder page/, which is replaced.", callback=writable)
    ],
    method: ShownMethods = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Of each run only the first samples.")] = None,
) -> None:
    """Make a page to explore answers and maps in a browser: words to hover over, methods to switch between."""
    from tam.page.stage import write_page
    from tam.run import inputs, runs_of
    from tam.system.damage import set_aside

    files = {"generation": generation, "maps": maps, "metrics": metrics}
    with set_aside(out / "page", inputs(**files)):
        counts = write_page(runs_of(manifests=manifest, **files), out, methods=method, most=samples)
    report(counts, out / "index.html", strict=False)


@commands.command()
def export(
    generation: GenerationFiles,
    maps: MapsFiles,
    out: Annotated[Path, typer.Option(help="Folder, which is replaced if it is such a folder.", callback=writable)],
    form: Annotated[
        str, typer.Option(help="'npz': a file of NumPy arrays an answer; 'coco': a JSON file of masks a method.")
    ] = "npz",
    method: ShownMethods = None,
    manifest: Annotated[
        Path | None, typer.Option(help="'coco': only this manifest's categories and phrases, with their ids.")
    ] = None,
) -> None:
    """Write the maps of a run for other programs: NumPy arrays, or thresholded maps as COCO's run lengths."""
    from tam.export.stage import export, form_of
    from tam.run import inputs, runs_of
    from tam.system.damage import set_aside

    files = {"generation": generation, "maps": maps}
    wanted = form_of(form)
    first, *others = runs_of(manifests=[manifest] if manifest else [], **files)
    if others:
        raise InputError("an export is of one run", got=" and ".join(run.name for run in (first, *others)))
    with set_aside(out, inputs(**files)):
        counts = export(first, out, wanted, method)
    report(counts, out, strict=False)
