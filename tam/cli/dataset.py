"""``tam dataset KIND``: make or read a dataset."""

from pathlib import Path
from typing import Annotated

import typer

from tam.cli.options import ManifestFile, Revision
from tam.cli.output import check_out, report, writable
from tam.errors import InputError
from tam.system.mark import MAKER, check_file

commands = typer.Typer(no_args_is_help=True, help="Make or read a dataset and write its manifest.")


def _manifest_folder(out: Path) -> Path:
    """A place for a manifest; DiskError: one lies there that is not ours."""
    check_file(out / "manifest.jsonl", sign='"problem": ')  # the key that each line of ours has, and no other needs
    return out


DatasetFolder = Annotated[Path, typer.Option(help="Folder for manifest.jsonl.", callback=_manifest_folder)]
DatasetPrompt = Annotated[str | None, typer.Option(help="The question asked of every picture; the paper's without it.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first samples.")]
DatasetRoot = Annotated[Path | None, typer.Option(help="Folder with the formatted data, or give --hub.")]
Hub = Annotated[str | None, typer.Option(help="Dataset of the hub that holds it, as yili7eli/TAM.")]
Downloads = Annotated[Path, typer.Option(help="Folder for what comes from the hub.")]


@commands.command("emoji")
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

    @commands.command(kind, help=f"Read {named} in the paper's formatted layout: {layout}.")
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


@commands.command("coco-original")
def dataset_coco_original(
    out: Annotated[Path, typer.Option(help="Folder for manifest.jsonl and seg_label/.", callback=_manifest_folder)],
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


@commands.command("coco-panoptic")
def dataset_coco_panoptic(
    out: Annotated[Path, typer.Option(help="Folder for manifest.jsonl and seg_label/.", callback=_manifest_folder)],
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


@commands.command("folder")
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


@commands.command("csv")
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


@commands.command("hf")
def dataset_hf(
    out: Annotated[Path, typer.Option(help="Folder for manifest.jsonl, image/ and mask/.", callback=_manifest_folder)],
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


@commands.command("refcoco")
def dataset_refcoco(
    out: Annotated[Path, typer.Option(help="Folder for manifest.jsonl and seg_label/.", callback=_manifest_folder)],
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


@commands.command("phrases")
def dataset_phrases(
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="JSON Lines, for `tam generate --answers`, or `answers` in the config.")],
) -> None:
    """Write the phrases of a dataset as answers to explain."""
    from tam.datasets import phrases

    check_out(manifest, out=out, sign=MAKER)
    report(phrases.write(manifest, out), out, strict=False)


@commands.command("swap-nouns")
def dataset_swap_nouns(
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="JSON Lines, for `tam generate --answers`, or `answers` in the config.")],
    seed: Annotated[int, typer.Option(min=0, help="Which noun, and what stands for it.")] = 0,
) -> None:
    """Write the captions with one noun exchanged for a category that is not in the picture."""
    from tam.datasets import swapped

    check_out(manifest, out=out, sign=MAKER)
    report(swapped.write(manifest, out, seed), out, strict=False)


@commands.command("nltk")
def dataset_nltk(
    out: Annotated[Path, typer.Option(help="Folder for NLTK_DATA, or `nltk_data` in the config.", callback=writable)],
    source: Annotated[Path | None, typer.Option("--from", help="Copy from this folder, not from the network.")] = None,
) -> None:
    """Get NLTK's part-of-speech tagger and WordNet, which the paper's evaluation uses."""
    from tam.datasets import nltk_data

    for path in nltk_data.write(out, source):
        print(path)


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
