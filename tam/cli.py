"""``tam STAGE ...``: what a rule of the workflow calls, a person can call."""

import logging
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from tam.errors import InputError, TamError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Token activation maps: the image or video evidence behind every token of a multimodal LLM.",
)
dataset = typer.Typer(no_args_is_help=True, help="Make or read a dataset and write its manifest.")
app.add_typer(dataset, name="dataset")

ManifestFile = Annotated[Path, typer.Option(help="The manifest that `tam dataset` wrote.")]
GenerationFile = Annotated[Path, typer.Option(help="A cache that `tam generate` wrote.")]
ProtocolName = Annotated[str, typer.Option(help="'fixed': what the paper means; 'reference': the published code.")]
Model = Annotated[str, typer.Option(help="'embedded', a folder, or a name on the hub.")]
Revision = Annotated[str | None, typer.Option(help="Revision on the hub.")]
Device = Annotated[str, typer.Option(help="'auto', 'cpu', 'cuda', 'cuda:1', ...")]
Dtype = Annotated[str, typer.Option(help="'auto' (as stored), 'float32', 'bfloat16' or 'float16'.")]
MaxNewTokens = Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")]
Layer = Annotated[
    int | None, typer.Option(min=1, help="Decoder layer, from 1, whose states are mapped; the last without it.")
]
EciCap = Annotated[
    float | None, typer.Option(min=0, help="The most that the scale of interference may be; no limit without it.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 if any sample failed.")]


@dataset.command("emoji")
def dataset_emoji(
    out: Annotated[Path, typer.Option(help="Folder of the dataset; replaced as a whole.")],
    scenes: Annotated[int, typer.Option(min=1, help="Number of scenes.")] = 48,
    seed: Annotated[int, typer.Option(min=0, help="Scenes of one seed are always the same.")] = 0,
    prompt: Annotated[str | None, typer.Option(help="The question asked of every picture.")] = None,
):
    """Compose emoji scenes with exact masks, in the layout of the paper's formatted COCO set."""
    from tam.datasets import coco
    from tam.datasets.emoji import scenes as emoji

    emoji.write(out, n=scenes, seed=seed)
    _wrote(coco.write(out, out / "manifest.jsonl", prompt=prompt or coco.PROMPT), out / "manifest.jsonl")


@dataset.command("coco")
def dataset_coco(
    root: Annotated[Path, typer.Option(help="Folder with annotations/, image/ and seg_label/.")],
    out: Annotated[Path, typer.Option(help="Folder for manifest.jsonl.")],
    prompt: Annotated[str | None, typer.Option(help="The question asked of every picture.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first samples.")] = None,
):
    """Read COCO captions with label maps in the paper's formatted layout."""
    from tam.datasets import coco

    count = coco.write(root, out / "manifest.jsonl", prompt=prompt or coco.PROMPT, limit=limit)
    _wrote(count, out / "manifest.jsonl")


@app.command()
def generate(
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="HDF5 file of the shard.")],
    shard: Annotated[str, typer.Option(help="Which slice of the manifest: INDEX-of-COUNT.")] = "0-of-1",
    model: Model = "embedded",
    revision: Revision = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    max_new_tokens: MaxNewTokens = 256,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Samples at a time; moves logits in their last bits only.")
    ] = 8,
    layer: Layer = None,
    strict: Strict = False,
):
    """Answer every sample of a shard and cache the logits that the maps need. Resumes where it was stopped."""
    from tam.generation import generate
    from tam.manifest import Shard

    counts = generate(
        manifest,
        Shard.parse(shard),
        _checkpoint(model),
        out,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        revision=revision,
        device=device,
        dtype=dtype,
        layer=layer,
    )
    _report(counts, out, strict)


@app.command()
def maps(
    generation: GenerationFile,
    out: Annotated[Path, typer.Option(help="HDF5 file of maps.")],
    method: Annotated[str, typer.Option(help="'activation', 'eci', 'rgf' or 'tam'.")] = "tam",
    protocol: ProtocolName = "fixed",
    exact: Annotated[bool, typer.Option("--exact", help="float64, bit for bit as the published code.")] = False,
    eci_cap: EciCap = None,
    strict: Strict = False,
):
    """Compute the map of every token from the cache, without the model."""
    from tam.maps import write_maps
    from tam.protocol import protocol as named

    _report(write_maps(generation, out, method, named(protocol), exact, eci_cap), out, strict)


@app.command()
def metrics(
    generation: GenerationFile,
    maps: Annotated[Path, typer.Option(help="A file that `tam maps` wrote.")],
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="Parquet file, one row a value.")],
    protocol: ProtocolName = "fixed",
    strict: Strict = False,
):
    """Score maps against masks, and answers against captions."""
    from tam.metrics import write_metrics
    from tam.protocol import protocol as named

    _report(write_metrics(generation, maps, manifest, out, named(protocol)), out, strict)


@app.command()
def tables(
    metrics: Annotated[Path, typer.Option(help="Folder METHOD/SHARD.parquet of one dataset and model.")],
    out: Annotated[Path, typer.Option(help="Folder for the tables.")],
):
    """Pool the metrics of all shards into the ablation table: CSV, Markdown and LaTeX."""
    from tam.tables import write_tables

    write_tables(metrics, out)
    print((out / "ablation.md").read_text(encoding="utf-8"))


@app.command()
def render(
    generation: Annotated[list[Path], typer.Option(help="Caches that `tam generate` wrote; once per shard.")],
    maps: Annotated[list[Path], typer.Option(help="Their maps, in the same order.")],
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="Folder; a folder per sample appears in it.")],
    sample: Annotated[list[str] | None, typer.Option(help="Sample id, once per sample; all without it.")] = None,
    strict: Strict = False,
):
    """Draw overlays and token text of chosen samples."""
    from tam.render import render

    _report(render(generation, maps, manifest, sample, out), out, strict)


@app.command()
def figures(
    run: Annotated[Path, typer.Option(help="Folder of a run: generate/, maps/, metrics/.")],
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="Folder for the figures.")],
):
    """Draw the figures of a run: methods side by side, score distributions, the lowest-scoring samples."""
    from tam.figures import write_figures

    write_figures(run, manifest, out)


@app.command()
def page(
    run: Annotated[list[Path], typer.Option(help="Folder DATASET/MODEL of a run; once per run.")],
    manifest: Annotated[list[Path], typer.Option(help="The manifests of the runs, in the same order.")],
    out: Annotated[Path, typer.Option(help="Folder for index.html and the folder page/, which is replaced.")],
):
    """Make a page to explore answers and maps in a browser: words to hover over, methods to switch between."""
    from tam.page import RunFiles, write_page

    if len(run) != len(manifest):
        raise InputError("every run needs its manifest", got=f"{len(run)} runs, {len(manifest)} manifests")
    runs = [RunFiles(*pair) for pair in zip(run, manifest, strict=True)]
    _report(write_page(runs, out), out / "index.html", strict=False)


@app.command()
def explain(
    picture: Annotated[list[Path], typer.Argument(help="One picture, several for one question, or one video.")],
    prompt: Annotated[str, typer.Option(help="The question.")] = "Write a one-sentence caption for this image:",
    model: Model = "embedded",
    revision: Revision = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    max_new_tokens: MaxNewTokens = 256,
    answer: Annotated[str | None, typer.Option(help="Explain this text instead of the model's own answer.")] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(help="Also draw one map of a word or phrase, of /EXPRESSION/, or of token #NUMBER; repeatable."),
    ] = None,
    pooling: Annotated[str, typer.Option(help="Of a selection's tokens: 'mean', 'max' or 'probability'.")] = "mean",
    layer: Layer = None,
    eci_cap: EciCap = None,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("explanation"),
):
    """Ask a model about pictures or a video and show where each token of its answer comes from."""
    from tam.explanation import explain
    from tam.families.checkpoint import load
    from tam.media import is_video
    from tam.render.stage import safe_word

    selected = {text: _selected(text) for text in select or ()}
    videos = [path for path in picture if is_video(path)]
    if videos and len(picture) > 1:
        raise InputError("a video stands alone", where=videos[0], got=f"{len(picture)} files")
    loaded, processor, _ = load(_checkpoint(model), revision, device, dtype)
    explained = explain(
        loaded, processor, () if videos else picture, prompt, video=videos[0] if videos else None,
        answer=answer, layer=layer, eci_cap=eci_cap, max_new_tokens=max_new_tokens,
    )  # fmt: skip
    print(explained.answer + ("" if explained.status == "ok" else f" [{explained.status}]"))
    folder = explained.save(out)
    print(f"look at {folder / 'index.html'} and {folder / 'sheet.png'}")
    for number, (text, wanted) in enumerate(selected.items(), 1):
        path = folder / f"select{number}_{safe_word(text)}.png"
        explained.overlay(wanted, pooling).save(path)
        print(f"{text}: {path}")


def _selected(text: str):
    """What ``--select`` means."""
    if number := re.fullmatch(r"#(-?\d+)", text):
        return int(number[1])
    if len(text) < 3 or not (text.startswith("/") and text.endswith("/")):
        return text
    try:
        return re.compile(text[1:-1])
    except re.error as error:
        raise InputError("not a regular expression", got=repr(text), cure=str(error)) from error


def _checkpoint(model: str) -> str:
    from tam.embedded import CHECKPOINT

    return str(CHECKPOINT) if model == "embedded" else model


def _wrote(count: int, path: Path) -> None:
    print(f"{path}: {count} samples")


def _report(counts: dict[str, int], out: Path, strict: bool) -> None:
    """Say how the samples fared; with ``strict`` a failed one is an error."""
    print(f"{out}: " + (", ".join(f"{number} {status}" for status, number in counts.items()) or "no samples"))
    failed = sum(number for status, number in counts.items() if status.startswith("failed"))
    if strict and failed:
        raise InputError("samples failed", where=out, got=f"{failed} of {sum(counts.values())}")


def main() -> None:
    """Entry of the ``tam`` command: an error that we know of is one line, not a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        app()
    except TamError as error:
        sys.exit(f"tam: error: {error}")
