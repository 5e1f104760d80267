"""``tam STAGE ...``: what a rule of the workflow calls, a person can call."""

import contextlib
import difflib
import io
import json
import logging
import os
import sys
import textwrap
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import tam
from tam.errors import InputError, TamError
from tam.system import stop

if TYPE_CHECKING:
    from tam.check.before import Finding
    from tam.explanation import Explanation, Word
    from tam.selection import Wanted

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
dataset = typer.Typer(no_args_is_help=True, help="Make or read a dataset and write its manifest.")
app.add_typer(dataset, name="dataset")

RESERVED = ("add_generation_prompt", "chat_template", "conversation", "tokenize")  # of what fills in a chat template

EXTRAS = {
    "nltk": "eval", "pandas": "eval", "pycocotools": "eval", "rouge": "eval", "scipy": "eval", "yaml": "eval",
    "openai": "engine", "gradio": "demo", "jsonschema": "workflow", "snakemake": "workflow",
}  # fmt: skip
"""Package that not everybody installs -> the extra that brings it."""

DatasetFolder = Annotated[Path, typer.Option(help="Folder for manifest.jsonl.")]
DatasetPrompt = Annotated[str | None, typer.Option(help="The question asked of every picture; the paper's without it.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first samples.")]
DatasetRoot = Annotated[Path | None, typer.Option(help="Folder with the formatted data, or give --hub.")]
Hub = Annotated[str | None, typer.Option(help="Dataset of the hub that holds it, as yili7eli/TAM.")]
Downloads = Annotated[Path, typer.Option(help="Folder for what comes from the hub.")]
ManifestFile = Annotated[Path, typer.Option(help="The manifest that `tam dataset` wrote.")]
GenerationFile = Annotated[Path, typer.Option(help="A cache that `tam generate` wrote.")]
GenerationFiles = Annotated[
    list[Path], typer.Option("--generation", help="Caches that `tam generate` wrote; once per shard of each run.")
]
MapsFiles = Annotated[list[Path], typer.Option("--maps", help="Their maps, in the same order.")]
MetricsFiles = Annotated[list[Path], typer.Option("--metrics", help="Their metrics, in the same order.")]


def _in_files(method: str) -> str:
    """The name that maps and rows have of a method; one's own may be named by its place, as in the config."""
    if ":" not in method:
        return method
    from tam.methods.registry import find

    return find(method).name


ShownMethods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        help="Only these methods, in this order; all without it.",
        callback=lambda methods: methods and [*map(_in_files, methods)],
    ),
]
ProtocolName = Annotated[str, typer.Option(help="'fixed': what the paper means; 'reference': the published code.")]
Model = Annotated[str, typer.Option(help="'embedded', a folder, or a name on the hub.")]
Revision = Annotated[str | None, typer.Option(help="Revision on the hub.")]
Device = Annotated[
    str, typer.Option(help="'auto', 'cpu', 'cuda', 'cuda:1', 'mps', ...; 'auto-map': as many as the model takes.")
]
Load = Annotated[str | None, typer.Option(help="'8bit' or '4bit': quantise the weights when they are loaded.")]
Store = Annotated[
    Path | None,
    typer.Option(help="Folder for finished batches until the file is whole; beside it, in .parts, without this."),
]
Dtype = Annotated[str, typer.Option(help="'auto' (as stored), 'float32', 'bfloat16' or 'float16'.")]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run the Python files that come with the checkpoint.")
]
MaxNewTokens = Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")]
Layer = Annotated[
    int | None, typer.Option(min=1, help="Decoder layer, from 1, whose states are mapped; the last without it.")
]
MaxPixels = Annotated[
    int | None, typer.Option(min=1, help="Of a picture or frame; a larger one is shown smaller. No limit without it.")
]
TemplateOptions = Annotated[
    list[str] | None,
    typer.Option("--template", help="NAME=VALUE for the chat template, as enable_thinking=false; repeatable."),
]
EciCap = Annotated[
    float | None, typer.Option(min=0, help="The most that the scale of interference may be; no limit without it.")
]
Sentences = Annotated[bool, typer.Option("--sentences", help="Tag words in the context of their sentence.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 if any sample failed.")]


def _say_version(asked: bool) -> None:
    if asked:
        print(f"tam {tam.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Say the version, and stop.", is_eager=True, callback=_say_version)
    ] = False,
) -> None:
    """Token activation maps: the image or video evidence behind every token of a multimodal LLM."""


@dataset.command("emoji")
def dataset_emoji(
    out: Annotated[Path, typer.Option(help="Folder of the dataset; replaced as a whole.")],
    scenes: Annotated[int, typer.Option(min=1, help="Number of scenes.")] = 48,
    seed: Annotated[int, typer.Option(min=0, help="Scenes of one seed are always the same.")] = 0,
    prompt: Annotated[str | None, typer.Option(help="The question asked of every picture.")] = None,
) -> None:
    """Compose emoji scenes with exact masks, in the layout of the paper's formatted COCO set."""
    from tam.datasets import coco
    from tam.datasets.emoji import scenes as emoji

    emoji.write(out, n=scenes, seed=seed)
    _wrote(coco.write(out, out / "manifest.jsonl", prompt=prompt or coco.PROMPT), out / "manifest.jsonl")


def _formatted(kind: str, named: str, layout: str) -> None:
    """A command for a dataset in one of the paper's formatted layouts, in a folder or on the hub."""

    @dataset.command(kind, help=f"Read {named} in the paper's formatted layout: {layout}.")
    def read(
        out: DatasetFolder,
        root: DatasetRoot = None,
        hub: Hub = None,
        revision: Revision = None,
        downloads: Downloads = Path("downloads"),
        prompt: DatasetPrompt = None,
        limit: Limit = None,
    ) -> None:
        from tam.datasets import anno, coco

        write, usual = (coco.write, coco.PROMPT) if kind == "coco" else (anno.write, anno.PROMPTS[kind])
        root = _root(kind, root, hub, revision, downloads)
        _wrote(write(root, out / "manifest.jsonl", prompt=prompt or usual, limit=limit), out / "manifest.jsonl")


_formatted("coco", "COCO captions with label maps", "annotations/, image/, seg_label/")
_formatted("grandf", "GranDf", "anno.json, image/, seg_label/")
_formatted("openpsg", "OpenPSG", "anno.json, image/, seg_label/")


@dataset.command("coco-original")
def dataset_coco_original(
    out: Annotated[Path, typer.Option(help="Folder for manifest.jsonl and seg_label/.")],
    images: Annotated[Path, typer.Option(help="Folder of the pictures: val2014.")],
    instances: Annotated[Path, typer.Option(help="instances_val2014.json.")],
    captions: Annotated[Path, typer.Option(help="captions_val2014.json.")],
    ids: Annotated[Path | None, typer.Option(help="instances_minival2014.json, or a list; all without it.")] = None,
    prompt: DatasetPrompt = None,
    limit: Limit = None,
) -> None:
    """Make the label maps of COCO14 from COCO's own files."""
    from tam.datasets import coco, coco_original

    manifest = out / "manifest.jsonl"
    prompt = prompt or coco.PROMPT
    _wrote(coco_original.write(images, instances, captions, manifest, ids=ids, prompt=prompt, limit=limit), manifest)


@dataset.command("coco-panoptic")
def dataset_coco_panoptic(
    out: Annotated[Path, typer.Option(help="Folder for manifest.jsonl and seg_label/.")],
    images: Annotated[Path, typer.Option(help="Folder of the pictures: val2017.")],
    panoptic: Annotated[Path, typer.Option(help="panoptic_val2017.json.")],
    segments: Annotated[Path, typer.Option(help="Folder of its PNG files: panoptic_val2017.")],
    captions: Annotated[Path | None, typer.Option(help="captions_val2017.json; no captions without it.")] = None,
    ids: Annotated[Path | None, typer.Option(help="A file with images, or a list of ids; all without it.")] = None,
    prompt: DatasetPrompt = None,
    limit: Limit = None,
) -> None:
    """Make label maps of things and stuff from COCO's panoptic files."""
    from tam.datasets import coco, coco_panoptic

    count = coco_panoptic.write(
        images, panoptic, segments, out / "manifest.jsonl", captions=captions, ids=ids, prompt=prompt or coco.PROMPT,
        limit=limit,
    )  # fmt: skip
    _wrote(count, out / "manifest.jsonl")


@dataset.command("folder")
def dataset_folder(
    root: Annotated[Path, typer.Option(help="Folder of pictures, videos, and folders of frames.")],
    out: DatasetFolder,
    prompt: DatasetPrompt = None,
    limit: Limit = None,
) -> None:
    """Take every picture and video of a folder, with the captions of its captions.txt."""
    from tam.datasets import coco, own

    count = own.write_folder(root, out / "manifest.jsonl", prompt=prompt or coco.PROMPT, limit=limit)
    _wrote(count, out / "manifest.jsonl")


@dataset.command("csv")
def dataset_csv(
    root: Annotated[Path, typer.Option(help="CSV file: media, id, prompt, captions, mask, categories.")],
    out: DatasetFolder,
    prompt: DatasetPrompt = None,
    limit: Limit = None,
) -> None:
    """Take the pictures and videos that a CSV file lists."""
    from tam.datasets import coco, own

    count = own.write_csv(root, out / "manifest.jsonl", prompt=prompt or coco.PROMPT, limit=limit)
    _wrote(count, out / "manifest.jsonl")


@dataset.command("hf")
def dataset_hf(
    out: Annotated[Path, typer.Option(help="Folder for manifest.jsonl, image/ and mask/.")],
    root: Annotated[
        Path | None, typer.Option(help="A Parquet file or tar archive, or a folder of them; or give --hub.")
    ] = None,
    hub: Annotated[str | None, typer.Option(help="Dataset of the hub, with --files.")] = None,
    revision: Revision = None,
    downloads: Downloads = Path("downloads"),
    files: Annotated[
        str | None, typer.Option(help="Which files, as 'data/validation-*.parquet'; all of a folder without it.")
    ] = None,
    image_column: Annotated[str | None, typer.Option(help="With the pictures; 'image' without it.")] = None,
    caption_column: Annotated[str | None, typer.Option(help="'caption', where there is one, without it.")] = None,
    question_column: Annotated[str | None, typer.Option(help="'question', where there is one, without it.")] = None,
    mask_column: Annotated[str | None, typer.Option(help="Label maps; 'mask', where there is one, without it.")] = None,
    id_column: Annotated[str | None, typer.Option(help="'id', where there is one, without it.")] = None,
    categories: Annotated[Path | None, typer.Option(help="JSON file of the label maps' {name: id}.")] = None,
    part: Annotated[str | None, typer.Option(help="A slice of the rows: INDEX-of-COUNT.")] = None,
    prompt: DatasetPrompt = None,
    limit: Limit = None,
) -> None:
    """Read a dataset of the hub, or its Parquet files or webdataset archives in a folder."""
    from tam.datasets import coco, hf
    from tam.datasets.hub import fetch_files
    from tam.manifest import Shard

    if hub is not None and files is not None and root is None:
        folder, found = fetch_files(hub, revision, downloads, files)
    elif root is not None and hub is None:
        folder, found = hf.find(root, files)
    else:
        raise InputError("the data is in a folder or on the hub", where="hf", expected="--root, or --hub and --files")
    named = {
        "image": image_column, "caption": caption_column, "question": question_column, "mask": mask_column,
        "id": id_column,
    }  # fmt: skip
    count = hf.write(
        folder, found, out / "manifest.jsonl", columns={what: name for what, name in named.items() if name is not None},
        categories=categories, part=Shard.parse(part) if part else None, prompt=prompt or coco.PROMPT, limit=limit,
    )  # fmt: skip
    _wrote(count, out / "manifest.jsonl")


@dataset.command("refcoco")
def dataset_refcoco(
    out: Annotated[Path, typer.Option(help="Folder for manifest.jsonl and seg_label/.")],
    images: Annotated[Path, typer.Option(help="Folder of the pictures: train2014.")],
    refs: Annotated[Path, typer.Option(help="refs(unc).p, the same as JSON, or rows {image, phrase, segmentation}.")],
    instances: Annotated[Path | None, typer.Option(help="instances.json; rows have their shapes without it.")] = None,
    split: Annotated[str | None, typer.Option(help="'val', 'testA', ...; all without it.")] = None,
    prompt: DatasetPrompt = None,
    limit: Limit = None,
) -> None:
    """Read phrases and the objects that they refer to: RefCOCO's files, or rows of your own."""
    from tam.datasets import coco, refcoco

    count = refcoco.write(
        images, refs, out / "manifest.jsonl", instances=instances, split=split, prompt=prompt or coco.PROMPT,
        limit=limit,
    )  # fmt: skip
    _wrote(count, out / "manifest.jsonl")


@dataset.command("phrases")
def dataset_phrases(
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="JSON Lines, for `tam generate --answers`, or `answers` in the config.")],
) -> None:
    """Write the phrases of a dataset as answers to explain."""
    from tam.datasets import phrases

    _keep(manifest, out=out)
    _report(phrases.write(manifest, out), out, strict=False)


@dataset.command("swap-nouns")
def dataset_swap_nouns(
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="JSON Lines, for `tam generate --answers`, or `answers` in the config.")],
    seed: Annotated[int, typer.Option(min=0, help="Which noun, and what stands for it.")] = 0,
) -> None:
    """Write the captions with one noun exchanged for a category that is not in the picture."""
    from tam.datasets import swapped

    _keep(manifest, out=out)
    _report(swapped.write(manifest, out, seed), out, strict=False)


@dataset.command("nltk")
def dataset_nltk(
    out: Annotated[Path, typer.Option(help="Folder for NLTK_DATA, or `nltk_data` in the config.")],
    source: Annotated[Path | None, typer.Option("--from", help="Copy from this folder, not from the network.")] = None,
) -> None:
    """Get NLTK's part-of-speech tagger and WordNet, which the paper's evaluation uses."""
    from tam.datasets import nltk_data

    for path in nltk_data.write(out, source):
        print(path)


@app.command()
def generate(
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="HDF5 file of the shard.")],
    shard: Annotated[str, typer.Option(help="Which slice of the manifest: INDEX-of-COUNT.")] = "0-of-1",
    model: Model = "embedded",
    revision: Revision = None,
    dtype: Dtype = "auto",
    load: Load = None,
    device: Device = "auto",
    max_new_tokens: MaxNewTokens = 256,
    batch_size: Annotated[
        str, typer.Option(help="Samples at a time, or 'auto': as memory allows. Moves logits in their last bits only.")
    ] = "auto",
    answers: Annotated[
        Path | None, typer.Option(help='Explain these texts instead: lines of {"id": ..., "answer": ...}.')
    ] = None,
    trust_remote_code: TrustRemoteCode = False,
    layer: Layer = None,
    max_pixels: MaxPixels = None,
    template: TemplateOptions = None,
    one_tile: Annotated[
        bool, typer.Option("--one-tile", help="Show a picture as one tile, as the published demo asks InternVL.")
    ] = False,
    store: Store = None,
    candidates: Annotated[
        int, typer.Option(min=0, max=5, help="So many of the likeliest classes of each token have maps, too.")
    ] = 3,
    strict: Strict = False,
) -> None:
    """Answer every sample of a shard and cache the logits that the maps need. Resumes where it was stopped."""
    from tam.generation.stage import generate
    from tam.manifest import Shard
    from tam.shard.store import lease
    from tam.system.gpus import claim

    _keep(manifest, answers, out=out)
    with stop.put_off(), lease(out, store), claim(device) as device:
        counts = generate(
            manifest,
            Shard.parse(shard),
            _checkpoint(model),
            out,
            max_new_tokens=max_new_tokens,
            batch_size=_number_or("auto", "--batch-size", batch_size),
            answers=answers,
            revision=revision,
            device=device,
            dtype=dtype,
            layer=layer,
            trust_remote_code=trust_remote_code,
            max_pixels=max_pixels,
            template=_template(template),
            one_tile=one_tile,
            load=load,
            store=store,
            candidates=candidates,
        )
    _report(counts, out, strict)


@app.command()
def ask(
    manifest: ManifestFile,
    url: Annotated[str, typer.Option(help="Of a server that speaks OpenAI's protocol: http://localhost:8000/v1")],
    model: Annotated[str, typer.Option(help="Its name for the model.")],
    out: Annotated[Path, typer.Option(help="JSON Lines, for `tam generate --answers`.")],
    shard: Annotated[str, typer.Option(help="Which slice of the manifest: INDEX-of-COUNT.")] = "0-of-1",
    max_new_tokens: MaxNewTokens = 256,
    concurrency: Annotated[int, typer.Option(min=1, help="Questions under way at a time.")] = 8,
    strict: Strict = False,
) -> None:
    """Let a server (vLLM, SGLang, transformers serve) answer every sample of a shard. Resumes where it was stopped."""
    from tam.ask import ask
    from tam.manifest import Shard

    _keep(manifest, out=out)
    with stop.put_off():
        counts = ask(
            manifest, Shard.parse(shard), url, model, out, max_new_tokens=max_new_tokens, concurrency=concurrency
        )
    _report(counts, out, strict)


@app.command()
def attribute(
    generation: GenerationFile,
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="HDF5 file of scores.")],
    method: Annotated[
        list[str], typer.Option(help="'attnlrp', 'rollout', ... (docs/explained/evaluation.md); once per method.")
    ],
    model: Model = "embedded",
    revision: Revision = None,
    device: Device = "auto",
    trust_remote_code: TrustRemoteCode = False,
    chunk: Annotated[str, typer.Option(help="Tokens in one pass back, or 'auto': as memory allows.")] = "auto",
    prompt: Annotated[
        bool, typer.Option("--prompt", help="Methods with gradients explain the prompt's words, too.")
    ] = False,
    attention_layers: Annotated[
        str, typer.Option(help="'attention': the 'last' layer, the mean of 'all', or of 1,2,...")
    ] = "last",
    answer_layer: Annotated[
        float, typer.Option(min=0, max=1, help="'llava-cam': its layer, as a share of the depth.")
    ] = 0.9,
    surgery_layers: Annotated[str, typer.Option(help="'archi-surgery': so many last layers, or 'half'.")] = "half",
    occlusion_cells: Annotated[int, typer.Option(min=1, help="'occlusion': side of a window, in cells.")] = 4,
    occlusion_step: Annotated[int, typer.Option(min=1, help="'occlusion': cells from a window to the next.")] = 3,
    store: Store = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if a sample, or a method on one, failed.")
    ] = False,
) -> None:
    """Compute raw scores of cached answers by methods that need the model. Resumes where it was stopped."""
    from tam.attribution.methods import Settings
    from tam.attribution.stage import write_attribution
    from tam.run import inputs
    from tam.shard.store import lease
    from tam.system.damage import set_aside
    from tam.system.gpus import claim

    settings = Settings(
        chunk=_number_or("auto", "--chunk", chunk),
        prompt=prompt,
        attention_layers=_layers(attention_layers),
        answer_layer=answer_layer,
        surgery_layers=_number_or("half", "--surgery-layers", surgery_layers) or "half",
        occlusion_cells=occlusion_cells,
        occlusion_step=occlusion_step,
    )
    _keep(generation, manifest, out=out)
    with (
        stop.put_off(),
        lease(out, store),
        set_aside(out, inputs(generation=[generation])),
        claim(device) as device,
    ):
        statuses, failures = write_attribution(
            generation, manifest, _checkpoint(model), out, method, settings, revision=revision, device=device,
            trust_remote_code=trust_remote_code, store=store,
        )  # fmt: skip
    _report_methods(statuses, failures, out, strict)


@app.command()
def maps(
    generation: GenerationFile,
    out: Annotated[Path, typer.Option(help="HDF5 file of maps.")],
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="'tam', 'eci', 'activation', ... (docs/explained/evaluation.md), FILE.py:FUNCTION; once per method."
        ),
    ] = None,
    protocol: ProtocolName = "fixed",
    exact: Annotated[bool, typer.Option("--exact", help="float64, bit for bit as the published code.")] = False,
    eci_cap: EciCap = None,
    scores: Annotated[Path | None, typer.Option(help="A file that `tam attribute` wrote.")] = None,
    sign: Annotated[str, typer.Option(help="Of scores: 'positive', or 'signed'.")] = "positive",
    scope: Annotated[
        str, typer.Option(help="Scores to 0..1 with those of the text: 'joint', or 'image' alone.")
    ] = "joint",
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if a sample, or a method on one, failed.")
    ] = False,
) -> None:
    """Compute the maps of every token from the cache by all methods ('tam' without any), without the model."""
    from tam.methods.scored import scope_of, sign_of
    from tam.methods.stage import write_maps
    from tam.protocol import protocol as named
    from tam.run import inputs
    from tam.system.damage import set_aside

    _keep(generation, scores, out=out)
    with set_aside(out, inputs(generation=[generation], scores=[scores] if scores else [])):
        statuses, failures = write_maps(
            generation, out, method or ["tam"], named(protocol), exact=exact, eci_cap=eci_cap, scores_path=scores,
            sign=sign_of(sign), scope=scope_of(scope),
        )  # fmt: skip
    _report_methods(statuses, failures, out, strict)


@app.command()
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

    _keep(generation, manifest, out=out)
    with stop.put_off(), lease(out, store), claim(device) as device:
        counts = sanity(
            generation, manifest, _checkpoint(model), out, methods=method or ["tam"], samples=samples,
            orders=order or ORDERS, seeds=seed or (0, 1, 2), revision=revision, device=device,
            trust_remote_code=trust_remote_code, store=store,
        )  # fmt: skip
    _report(counts, out, strict)


@app.command()
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
            callback=lambda methods: methods and [*map(_in_files, methods)],
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
    _keep(generation, maps, manifest, out=out)
    with (
        stop.put_off(),
        lease(out, store),
        claim(device) as device,
        set_aside(out, inputs(generation=[generation], maps=[maps])),
    ):
        counts = perturb(
            request, _checkpoint(model), out, revision=revision, device=device, trust_remote_code=trust_remote_code,
            batch_size=_number_or("auto", "--batch-size", batch_size), store=store,
        )  # fmt: skip
    _report(counts, out, strict)


@app.command()
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

    _keep(generation, maps, manifest, *(perturbed or ()), out=out)
    with set_aside(out, inputs(generation=[generation], maps=[maps], perturbed=perturbed or ())):
        counts = write_metrics(
            generation, maps, manifest, out, named(protocol), sentences=sentences, grounded=grounding,
            perturbed=perturbed or (),
        )  # fmt: skip
    _report(counts, out, strict)


@app.command()
def tables(
    metrics: MetricsFiles,
    out: Annotated[Path, typer.Option(help="Folder for the tables.")],
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


@app.command()
def overview(
    metrics: MetricsFiles,
    out: Annotated[Path, typer.Option(help="Folder for the tables.")],
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


@app.command()
def render(
    generation: GenerationFiles,
    maps: MapsFiles,
    manifest: ManifestFile,
    method: Annotated[str, typer.Option(help="Whose maps are drawn.", callback=_in_files)],
    out: Annotated[Path, typer.Option(help="Folder; a folder per sample appears in it.")],
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
    _report(counts, out, strict)


@app.command()
def figures(
    generation: GenerationFiles,
    maps: MapsFiles,
    metrics: MetricsFiles,
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="Folder for the figures.")],
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


@app.command()
def compare(
    generation: GenerationFiles,
    maps: MapsFiles,
    metrics: MetricsFiles,
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="Folder for the figure.")],
) -> None:
    """Draw one sample with the maps of several models, a row a model."""
    from tam.figures.stage import write_comparison
    from tam.run import inputs, runs_of
    from tam.system.damage import set_aside

    files = {"generation": generation, "maps": maps, "metrics": metrics}
    with set_aside(out, inputs(**files)):
        write_comparison(runs_of(manifests=[manifest], **files), out)


@app.command()
def page(
    generation: GenerationFiles,
    maps: MapsFiles,
    metrics: MetricsFiles,
    manifest: Annotated[list[Path], typer.Option(help="The manifest DATASET/manifest.jsonl of each dataset.")],
    out: Annotated[Path, typer.Option(help="Folder for index.html and the folder page/, which is replaced.")],
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
    _report(counts, out / "index.html", strict=False)


@app.command()
def export(
    generation: GenerationFiles,
    maps: MapsFiles,
    out: Annotated[Path, typer.Option(help="Folder, which is replaced if it is such a folder.")],
    form: Annotated[
        str, typer.Option(help="'npz': a file of NumPy arrays an answer; 'coco': a JSON file of masks a method.")
    ] = "npz",
    method: ShownMethods = None,
    manifest: Annotated[
        Path | None, typer.Option(help="'coco': only words that name a category of this manifest, with its id.")
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
    _report(counts, out, strict=False)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(context: typer.Context) -> None:
    """Run the workflow: Snakemake with our Snakefile, and with all the options that you add for it.

    For example: tam run --configfile mine.yaml --cores 4
    """
    import importlib.util

    from tam.snakefile import SNAKEFILE

    if importlib.util.find_spec("snakemake") is None:
        raise ModuleNotFoundError("snakemake", name="snakemake")
    for config in _configs(context.args):
        _read_config(config)
    os.execv(sys.executable, [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE), *context.args])


@app.command()
def pin(config: Annotated[Path, typer.Argument(help="A config of the workflow, which is edited.")]) -> None:
    """Write the current commits of a config's models and datasets into it, with their dates."""
    from tam.pin import pin

    for line in pin(config):
        print(line)


@app.command()
def check(
    model: Annotated[str | None, typer.Argument(help="'embedded', a folder, or a name on the hub.")] = None,
    configfile: Annotated[Path | None, typer.Option(help="A config of the workflow, instead of a model.")] = None,
    revision: Revision = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Check that a model is read rightly, or that all is there that a config asks for; exit with 1 if not.

    Of a model: the person's words are found, vision tokens lie where its family says (parts of pictures are painted),
    and a batch, a given answer and a chosen layer give what the model gives alone. Of a config: data, checkpoints, GPU
    memory, disk, TeX and NLTK.
    """
    if (model is None) == (configfile is None):
        raise InputError("one thing is checked", expected="a MODEL, or --configfile FILE")
    if configfile is not None:
        findings, what = _of_config(configfile), "not ready to run"
    else:
        from tam.check.model import check_model
        from tam.model.checkpoint import load

        loaded = load(_checkpoint(str(model)), revision, device, dtype, trust_remote_code)
        findings, what = check_model(loaded), "the model is not read rightly"
    failed = []
    for finding in findings:
        print(finding, flush=True)
        failed += [] if finding.good else [finding.about]
    if failed:
        raise InputError(what, where=configfile or model, got=", ".join(dict.fromkeys(failed)))


def _of_config(configfile: Path) -> "Iterator[Finding]":
    from tam import config
    from tam.check.before import before

    asked = _read_config(configfile)
    config.check(asked)
    return before(asked)


@app.command()
def status(
    results: Annotated[Path, typer.Argument(help="Folder of the results.")] = Path("results"),
    watch: Annotated[bool, typer.Option("--watch", help="Look again every 5 seconds.")] = False,
) -> None:
    """Say how far a run is: shards, samples, rate, who is at work, what it took. Reads only."""
    import time

    from tam.progress.survey import survey
    from tam.progress.words import describe

    print(describe(survey(results)))
    while watch:
        time.sleep(5)
        print(f"\n{describe(survey(results))}", flush=True)


@app.command()
def explain(
    picture: Annotated[list[Path], typer.Argument(help="One picture, several for one question, or one video.")],
    prompt: Annotated[str, typer.Option(help="The question.")] = "Write a one-sentence caption for this image:",
    model: Model = "embedded",
    revision: Revision = None,
    dtype: Dtype = "auto",
    load: Load = None,
    device: Device = "auto",
    max_new_tokens: MaxNewTokens = 256,
    answer: Annotated[str | None, typer.Option(help="Explain this text instead of the model's own answer.")] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(help="Also draw one map of a word or phrase, of /EXPRESSION/, or of token #NUMBER; repeatable."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="'eci', 'activation', ... or FILE.py:FUNCTION, TAM without it; repeatable, shown by the first."
        ),
    ] = None,
    contrast: Annotated[
        list[str] | None,
        typer.Option(help="Also draw where more speaks for a word than for what was considered there: cat=person."),
    ] = None,
    pooling: Annotated[str, typer.Option(help="Of a selection's tokens: 'mean', 'max' or 'probability'.")] = "mean",
    layer: Layer = None,
    eci_cap: EciCap = None,
    max_pixels: MaxPixels = None,
    template: TemplateOptions = None,
    figure: Annotated[
        Path | None, typer.Option(help="Also draw a figure of words and methods: .pdf, .svg, .png, .jpg or .webp.")
    ] = None,
    words: Annotated[
        str | None, typer.Option(help="Of the figure, as 'dog,red umbrella'; those with the highest maps without it.")
    ] = None,
    width: Annotated[int, typer.Option(min=100, max=20_000, help="Of pictures and of a figure in pixels.")] = 1800,
    colormap: Annotated[str, typer.Option(help="'jet', 'viridis', 'magma' or 'cividis'.")] = "jet",
    outline: Annotated[
        bool, typer.Option("--outline", help="Draw the edge of what is above Otsu's threshold, which scores count.")
    ] = False,
    npz: Annotated[bool, typer.Option("--npz", help="Also write the maps as NumPy arrays, maps.npz.")] = False,
    tokens: Annotated[bool, typer.Option("--tokens/--no-tokens", help="A picture a token instead of a word.")] = False,
    trust_remote_code: TrustRemoteCode = False,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("explanation"),
) -> None:
    """Ask a model about pictures or a video and show where each token of its answer comes from."""
    from tam.explanation import check_folder, check_layer_of, explain
    from tam.figures.kinds import KINDS, check_name
    from tam.media import is_video
    from tam.methods.candidates import check_method
    from tam.methods.core import check_cap
    from tam.methods.registry import find_all
    from tam.protocol import FIXED
    from tam.render.colors import table
    from tam.render.names import safe_word
    from tam.selection import check_pooling, wanted_of
    from tam.system.atomic import atomic

    # all that can be wrong without the model, before it is loaded
    (prompt + (answer or "")).encode("utf-8")
    selected = {text: wanted_of(text) for text in select or ()}
    known_pooling = check_pooling(pooling)
    pairs = [_pair(text) for text in contrast or ()]
    methods = find_all(method or ["tam"])
    if pairs:
        check_method(methods[0].name)
    for_template = _template(template)
    check_cap(eci_cap, FIXED)
    check_layer_of(methods, layer)
    table(colormap)
    if figure is not None:
        _keep(*picture, out=figure, kinds=KINDS)
        check_name(figure)
    elif words is not None:
        raise InputError("words are of a figure", where="--words", got=repr(words), cure="say --figure FILE, too")
    videos = [path for path in picture if is_video(path)]
    if videos and len(picture) > 1:
        raise InputError("a video stands alone", where=videos[0], got=f"{len(picture)} files")
    for path in picture:
        if path.is_dir():
            cure = "name its pictures (DIR/*.jpg), or give the folder to `tam dataset folder`"
            raise InputError("a folder is no picture", where=path, cure=cure)
        if str(path).startswith(("http:/", "https:/")):
            raise InputError("an address is no file", where=path, cure="fetch it first (curl -O), or use Python")
        if not path.is_file():
            near = difflib.get_close_matches(path.name, sorted(one.name for one in path.parent.glob("*")), 1)
            known = f"did you mean {path.parent / near[0]}?" if near else None
            raise InputError("no such picture", where=path, cure=known)

    check_folder(out, picture[0])

    from tam.system.imports import uncollected

    with uncollected():
        from tam.model import checkpoint

    loaded = checkpoint.load(_checkpoint(model), revision, device, dtype, trust_remote_code, load)
    explained = explain(
        loaded.model, loaded.processor, () if videos else picture, prompt, video=videos[0] if videos else None,
        answer=answer, method=methods, layer=layer, eci_cap=eci_cap, max_new_tokens=max_new_tokens,
        max_pixels=max_pixels, template=for_template,
    )  # fmt: skip
    print(explained.answer + ("" if explained.status == "ok" else f" [{explained.status}]"))
    folder = explained.save(out, tokens=tokens, colormap=colormap, width=width, outline=outline)
    print(f"look at {folder / 'index.html'} and {folder / 'sheet.png'}")
    if figure is not None:
        drawn = explained.figure(
            _said(explained, words), list(explained.by_method), colormap=colormap, width=width, outline=outline
        )
        print(f"figure: {drawn.save(figure)}")
    for number, (text, wanted) in enumerate(selected.items(), 1):
        path = folder / f"select{number}_{safe_word(text)}.png"
        with atomic(path) as temporary:
            explained.overlay(wanted, known_pooling, colormap=colormap, outline=outline).save(temporary, "PNG")
        print(f"{text}: {path}")
    if npz:
        explained.to_npz(folder / "maps.npz")
        print(f"arrays: {folder / 'maps.npz'}")
    for number, (said, other) in enumerate(pairs, 1):
        difference = explained.contrast(said, other)
        name = "_".join(map(safe_word, difference.texts[0].split(" less ")))
        path = folder / f"contrast{number}_{name}.png"
        with atomic(path) as temporary:
            explained.overlay(difference).save(temporary, "PNG")
        print(f"{difference.texts[0]}, red where more speaks for it: {path}")
    print(_evidence(explained.words))
    if show:
        import webbrowser

        webbrowser.open((folder / "index.html").resolve().as_uri())


@app.command()
def demo(
    model: Model = "embedded",
    revision: Revision = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    max_new_tokens: MaxNewTokens = 256,
    method: Annotated[
        list[str] | None, typer.Option(help="As of `tam explain`; repeatable, shown by the first.")
    ] = None,
    layer: Layer = None,
    eci_cap: EciCap = None,
    max_pixels: MaxPixels = None,
    template: TemplateOptions = None,
    trust_remote_code: TrustRemoteCode = False,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="The first free one from 7860 on without it.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Serve a page, to this machine alone, to drop pictures, ask, and see the maps."""
    from tam.demo import serving
    from tam.explanation import check_layer_of, explain
    from tam.methods.core import check_cap
    from tam.methods.registry import find_all
    from tam.protocol import FIXED

    methods, for_template = find_all(method or ["tam"]), _template(template)
    check_cap(eci_cap, FIXED)
    check_layer_of(methods, layer)

    from tam.model.checkpoint import load

    loaded = load(_checkpoint(model), revision, device, dtype, trust_remote_code)

    def asked(pictures: Sequence[Path], video: Path | None, prompt: str) -> "Explanation":
        return explain(
            loaded.model, loaded.processor, pictures, prompt, video=video, method=methods, layer=layer,
            eci_cap=eci_cap, max_new_tokens=max_new_tokens, max_pixels=max_pixels, template=for_template,
        )  # fmt: skip

    about = "It knows 32 kinds of emoji on drawn scenes, and no photos." if model == "embedded" else ""
    with serving(asked, f"Model: {model}. {about}", port) as address, contextlib.suppress(stop.Stopped):
        print(f"{address} until you press Ctrl+C", flush=True)
        if show:
            import webbrowser

            webbrowser.open(address)
        threading.Event().wait()


def _configs(arguments: Sequence[str]) -> Iterator[Path]:
    """The files that options of Snakemake name as configs."""
    named = False
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if argument.startswith("-"):
            named = option in ("--configfile", "--configfiles")
            if named and equals:
                yield Path(value)
        elif named:
            yield Path(argument)


def _read_config(path: Path) -> Any:
    """What YAML makes of a config, or JSON; InputError: nothing."""
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise InputError("no config", where=path, got=" ".join(str(error).split())) from error


def _keep(*read: Path | None, out: Path, kinds: Sequence[str] = (".h5", ".parquet", ".jsonl")) -> None:
    """Raises: InputError: what is to be written would replace what is read, or a file that is named as none of ours."""
    for path in read:
        if path is not None and path.exists() and out.exists() and path.samefile(out):
            raise InputError("it would replace what it reads", where=out, cure="name another file")
    if out.is_file() and out.suffix.lower() not in kinds:
        raise InputError("only a file of ours is replaced", where=out, expected=" or ".join(kinds))


def _pair(text: str) -> "tuple[Wanted, str]":
    """What was said, and the candidate, of "cat=person"."""
    from tam.selection import wanted_of

    said, _, other = text.rpartition("=")
    if not said or not other:
        raise InputError("not a word and a candidate", where="--contrast", got=repr(text), expected="as cat=person")
    return wanted_of(said), other


def _said(explained: "Explanation", words: str | None) -> "list[Wanted] | None":
    """Those of the wanted words that the answer has; InputError: none of them."""
    if words is None:
        return None
    from tam.selection import wanted_of

    found: list[Wanted] = []
    problem: InputError | None = None
    for text in words.split(","):
        wanted = wanted_of(text.strip())
        try:
            explained.select(wanted)
            found.append(wanted)
        except InputError as error:
            problem = error
            print(f"figure: {error}")
    if problem is not None and not found:
        raise problem
    return found


def _evidence(words: "Sequence[Word]") -> str:
    """A line on what speaks for each word of an answer."""
    said = [
        f"{word.text} {'' if found.probability is None else f'{found.probability:.0%}, '}{found.peak:.1f}"
        for word in words
        if (found := word.evidence)
    ]
    head = "evidence, not truth (of each word its probability; its peak, the highest logit in the picture, 0: none): "
    return textwrap.fill(head + "; ".join(said), 120)


def _number_or(word: str, option: str, text: str) -> int | None:
    """None for the word."""
    if text == word:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InputError("wrong number", where=option, got=repr(text), expected=f"{word}, or 1 or more")
    return int(text)


def _template(options: list[str] | None) -> dict[str, Any] | None:
    """NAME=VALUE, VALUE as JSON or else as text."""
    found: dict[str, Any] = {}
    for option in options or ():
        name, equals, value = option.partition("=")
        if not (name and equals):
            raise InputError("no option of a chat template", got=repr(option), expected="NAME=VALUE")
        if name in RESERVED:
            raise InputError("the prompt sets this itself", where="--template", got=repr(name), cure="leave it out")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found or None


def _layers(text: str) -> Literal["last", "all"] | tuple[int, ...]:
    if text == "last":
        return "last"
    if text == "all":
        return "all"
    numbers = text.split(",")
    if not all(number.isdecimal() for number in numbers):
        raise InputError("wrong layers", where="--attention-layers", got=repr(text), expected="last, all, or 1,2,...")
    return tuple(map(int, numbers))


def _checkpoint(model: str) -> str:
    from tam.embedded import CHECKPOINT

    return str(CHECKPOINT) if model == "embedded" else model


def _wrote(count: int, path: Path) -> None:
    print(f"{path}: {count} samples")


def _root(kind: str, root: Path | None, hub: str | None, revision: str | None, downloads: Path) -> Path:
    """Where the formatted data of a dataset lies, after fetching it."""
    from tam.datasets.hub import WANTED, fetch

    if root is not None and hub is None:
        return root
    if hub is not None and root is None:
        return fetch(hub, revision, downloads, WANTED[kind])
    raise InputError("the data is in a folder or on the hub", where=kind, expected="either --root or --hub")


def _report_methods(statuses: Mapping[str, int], failures: Mapping[str, int], out: Path, strict: bool) -> None:
    """Say how samples and methods fared; with ``strict`` a failed one is an error."""
    said = [", ".join(f"{number} {status}" for status, number in statuses.items()) or "no samples"]
    said += [f"{name} failed on {number}" for name, number in failures.items()]
    print(f"{out}: {'; '.join(said)}")
    if strict and ("failed" in statuses or failures):
        raise InputError("samples failed", where=out, got="; ".join(said))


def _report(counts: dict[str, int], out: Path, strict: bool) -> None:
    """Say how the samples fared; with ``strict`` a failed one is an error."""
    print(f"{out}: " + (", ".join(f"{number} {status}" for status, number in counts.items()) or "no samples"))
    failed = sum(number for status, number in counts.items() if status.startswith("failed"))
    if strict and failed:
        raise InputError("samples failed", where=out, got=f"{failed} of {sum(counts.values())}")


def main() -> None:
    """Entry of the ``tam`` command: an error that we know of is one line, not a traceback."""
    os.environ["MPLBACKEND"] = "agg"  # nobody looks on, and what Jupyter sets is only there in Jupyter
    # Idle threads of OpenMP sleep: spinning, two jobs on two cores slow each other down many times.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # answers have letters that not every terminal has
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    stop.listen()
    try:
        app()
    except (TamError, OSError) as error:  # the disk's own: read-only, no permission, gone
        sys.exit(f"tam: error: {error}")
    except ModuleNotFoundError as error:
        if (extra := EXTRAS.get(error.name or "")) is None:
            raise
        sys.exit(f'tam: error: {error.name} is not installed; cure: pip install "token-activation-maps[{extra}]"')
    except UnicodeEncodeError as error:  # a text or a file's name in a locale without its letters
        letters = ascii(error.object[error.start : error.end])
        sys.exit(f"tam: error: letters that the locale lacks; got {letters}; cure: export PYTHONUTF8=1")
    except stop.Stopped as stopped:
        print(f"tam: stopped ({stopped.why}); nothing half is left, run it again to go on", file=sys.stderr)
        raise
