"""How good maps are: with other weights, without parts of the picture, against label maps; and tables of it."""

from pathlib import Path
from typing import Annotated

import typer

from tam.cli.options import (
    Device,
    GenerationFile,
    ManifestFile,
    MetricsFiles,
    Model,
    ProtocolName,
    Revision,
    ShownMethods,
    Store,
    Strict,
    TrustRemoteCode,
    checkpoint_of,
    names_in_files,
    number_or,
)
from tam.cli.output import check_out, report, writable
from tam.errors import InputError
from tam.system import stop

commands = typer.Typer()

Sentences = Annotated[bool, typer.Option("--sentences", help="Tag words in the context of their sentence.")]


@commands.command()
def sanity(
    generation: GenerationFile,
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="HDF5 file; table and figure appear beside it under its name.")],
    model: Model = "embedded",
    revision: Revision = None,
    device: Device = "auto",
    trust_remote_code: TrustRemoteCode = False,
    method: ShownMethods = None,
    samples: Annotated[int, typer.Option(min=1, help="How many answers, drawn from those of the file.")] = 32,
    order: Annotated[
        list[str] | None, typer.Option(help="'bottom_up', 'independent', 'top_down'; all three without it.")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(min=0, help="Of the weights; 0, 1 and 2 without it.")] = None,
    store: Store = None,
    strict: Strict = False,
) -> None:
    """Draw the model's weights anew, part after part, and see how the maps of its answers change."""
    from tam.sanity.parts import ORDERS
    from tam.sanity.stage import sanity
    from tam.shard.store import lease
    from tam.system.gpus import claim

    check_out(generation, manifest, out=out, sign="tam-sanity")
    with stop.put_off(), lease(out, store), claim(device) as device:
        counts = sanity(
            generation, manifest, checkpoint_of(model), out, methods=method or ["tam"], samples=samples,
            orders=order or ORDERS, seeds=seed or (0, 1, 2), revision=revision, device=device,
            trust_remote_code=trust_remote_code, store=store,
        )  # fmt: skip
    report(counts, out, strict)


@commands.command()
def perturb(
    generation: GenerationFile,
    maps: Annotated[Path, typer.Option(help="A file that `tam maps` wrote.")],
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="HDF5 file: log p of the answer's tokens without cells of the picture.")],
    model: Model = "embedded",
    revision: Revision = None,
    device: Device = "auto",
    trust_remote_code: TrustRemoteCode = False,
    baseline: Annotated[str, typer.Option(help="What takes the cells' place: 'blur' or 'mean'.")] = "blur",
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Whose maps say the order; once per method. All of --maps without it.",
            callback=names_in_files,
        ),
    ] = None,
    fraction: Annotated[
        list[float] | None,
        typer.Option(help="Of the cells, up to 0.5; the rest is mirrored. 1/32, 1/16, 1/8, 1/4, 1/2 without it."),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(min=1, help="Of the dataset, drawn by the seed, the same for all shards; all without it."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw of the samples.")] = 0,
    shared: Annotated[
        bool, typer.Option("--shared", help="No orders of maps: only blocks and random sets, which all methods share.")
    ] = False,
    blocks: Annotated[int, typer.Option(min=0, help="Blocks left out one at a time, at least; 0: none.")] = 49,
    sets: Annotated[int, typer.Option(min=0, help="Random sets of half the blocks.")] = 32,
    words: Annotated[str, typer.Option(help="'nouns' that name a category, or all 'content' words.")] = "nouns",
    sentences: Sentences = False,
    batch_size: Annotated[str, typer.Option(help="Pictures at a time, or 'auto': as memory allows.")] = "auto",
    store: Store = None,
    only_estimate: Annotated[
        bool, typer.Option("--estimate", help="Say how many forwards it takes, and stop.")
    ] = False,
    strict: Strict = False,
) -> None:
    """Score every answer token without parts of the picture. Resumes, and scores only what is not there yet."""
    from tam.maps import read_maps_header
    from tam.perturb import Request, estimate, perturb
    from tam.perturbed import Asked, baseline_of, words_of
    from tam.run import inputs
    from tam.shard.store import lease
    from tam.system.damage import set_aside
    from tam.system.gpus import claim

    asked = Asked(
        methods=tuple(method or read_maps_header(maps).methods),
        fractions=tuple(sorted(set(fraction or Asked.fractions))),
        ordered=not shared, blocks=blocks, sets=sets, words=words_of(words), sentences=sentences, samples=samples,
        seed=seed,
    )  # fmt: skip
    request = Request(generation, maps, manifest, baseline_of(baseline), asked)
    if only_estimate:
        print(estimate(request))
        return
    check_out(generation, maps, manifest, out=out, sign="tam-perturb")
    with (
        stop.put_off(),
        lease(out, store),
        claim(device) as device,
        set_aside(out, inputs(generation=[generation], maps=[maps])),
    ):
        counts = perturb(
            request, checkpoint_of(model), out, revision=revision, device=device, trust_remote_code=trust_remote_code,
            batch_size=number_or("auto", "--batch-size", batch_size), store=store,
        )  # fmt: skip
    report(counts, out, strict)


@commands.command()
def metrics(
    generation: GenerationFile,
    maps: Annotated[Path, typer.Option(help="A file that `tam maps` wrote.")],
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="Parquet file, one row a value.")],
    protocol: ProtocolName = "fixed",
    sentences: Sentences = False,
    grounding: Annotated[
        bool, typer.Option("--grounding", help="Also the evidence of each noun, and whether it is in the picture.")
    ] = False,
    perturbed: Annotated[
        list[Path] | None,
        typer.Option("--perturb", help="A file that `tam perturb` wrote: faithfulness, too. Once per baseline."),
    ] = None,
    strict: Strict = False,
) -> None:
    """Score maps against label maps, and answers against captions."""
    from tam.metrics.stage import write_metrics
    from tam.protocol import protocol as named
    from tam.run import inputs
    from tam.system.damage import set_aside

    check_out(generation, maps, manifest, *(perturbed or ()), out=out, sign="tam-metrics")
    with set_aside(out, inputs(generation=[generation], maps=[maps], perturbed=perturbed or ())):
        counts = write_metrics(
            generation, maps, manifest, out, named(protocol), sentences=sentences, grounded=grounding,
            perturbed=perturbed or (),
        )  # fmt: skip
    report(counts, out, strict)


@commands.command()
def tables(
    metrics: MetricsFiles,
    out: Annotated[Path, typer.Option(help="Folder for the tables.", callback=writable)],
    method: ShownMethods = None,
) -> None:
    """Pool the metrics of all shards of a run into the ablation table: CSV, Markdown and LaTeX."""
    from tam.run import inputs, runs_of
    from tam.system.damage import set_aside
    from tam.tables.ablation import write_tables

    run, *others = runs_of(metrics=metrics)
    if others:
        raise InputError("files of several runs", got=f"{run.name} and {others[0].name}", cure="use `tam overview`")
    with set_aside(out, inputs(metrics=metrics)):
        write_tables(run, out, method)
    print((out / "ablation.md").read_text(encoding="utf-8"))


@commands.command()
def overview(
    metrics: MetricsFiles,
    out: Annotated[Path, typer.Option(help="Folder for the tables.", callback=writable)],
    method: ShownMethods = None,
    published: Annotated[Path | None, typer.Option(help="YAML file of numbers in print.")] = None,
    report: Annotated[Path | None, typer.Option(help="The page of all answers, which is linked to.")] = None,
) -> None:
    """Tables over all runs with published numbers beside ours: CSV, Markdown, LaTeX and one page of HTML."""
    from tam.run import inputs, runs_of
    from tam.system.damage import set_aside
    from tam.tables.overview import write_overview

    with set_aside(out, inputs(metrics=metrics)):
        write_overview(runs_of(metrics=metrics), published, out, method, report)
    print(out / "index.html")
