"""The page: runs -> ``index.html`` with files beside it, to explore answers and maps in a browser, from disk.

Python writes data and pictures; the scripts in ``assets`` only show them::

    index.html
    page/gallery.js           a line on every sample, names, colour maps
    page/RUN/ROW.js           one sample, loaded when it is opened: its text and scores, the maps of every method, its
                              pictures, which a browser lets no page from disk save when they are files of their own
    page/RUN/ROW.webp         its first picture in small, for the gallery
    page/*.css, page/*.js     copies of ``assets``
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tam import manifest
from tam.cache import read_header
from tam.errors import InputError
from tam.manifest import Sample
from tam.maps import MapsHeader, read_maps_header
from tam.media import open_shown
from tam.methods.rivals import notes_on
from tam.metrics.catalogue import CATALOGUE
from tam.page.considered import considered
from tam.page.facts import PHOTO, facts, grouped, meets_photo
from tam.page.sample import STEPS, card, describe, kind, numbers, pictures, webp
from tam.page.scores import RunScores, read_scores
from tam.page.scripts import assets, color_maps, in_base64, packed, packed_json, write_script
from tam.protocol import protocol
from tam.records import Generation, SampleMaps
from tam.run import RunFiles, main_method, read_pairs, sample_of, titles
from tam.system.atomic import atomic, atomic_folder
from tam.system.mark import check_file

FOLDER = "page"


def write_page(
    runs: Sequence[RunFiles], out: Path, methods: Sequence[str] | None = None, most: int | None = None
) -> dict[str, int]:
    """Write ``out/index.html`` and the folder ``out/page``, which is replaced as a whole.

    Args:
        methods: only these, in this order; None: all of each run's files.
        most: of each run, only so many samples, the first of the manifest; None: all.

    Returns:
        the number of samples by kind of status: "ok", "truncated", "failed".

    Raises:
        InputError: no runs, a run whose files are not complete, or a manifest that lacks a sample.
        SchemaError: files that are damaged or do not belong together.
        DiskError: the disk is full, or ``out/page`` or ``out/index.html`` is not ours.
    """
    if not runs:
        raise InputError("no runs to show")
    check_file(out / "index.html", f"{FOLDER}/gallery.js")
    with atomic_folder(out / FOLDER, {"kind": "page"}) as part:
        described, samples = [], []
        for number, run in enumerate(runs):
            about, lines = _write_run(run, part, number, methods, most)
            described.append(about)
            samples += lines
        names = {name: metric.title for name, metric in CATALOGUE.items()}
        about_all = {"metrics": [*names.items()], "colors": color_maps(), "steps": STEPS}
        write_script(part / "gallery.js", "showGallery", about_all | {"runs": described, "samples": samples})
        index = _copy_assets(part)
    with atomic(out / "index.html") as temporary:
        temporary.write_text(index, encoding="utf-8")
    return dict(Counter(line["kind"] for line in samples))


def _write_run(
    run: RunFiles, out: Path, number: int, methods: Sequence[str] | None, most: int | None
) -> tuple[dict[str, object], list[dict[str, Any]]]:
    """Write the samples of a run into ``out/NUMBER``; what the gallery says of the run, and of each sample."""
    shown = titles(run, methods)
    listed = manifest.read(run.samples_file)
    wanted = range(len(listed) if most is None else min(most, len(listed)))
    scores = read_scores(run, shown, {listed[row].id for row in wanted})
    folder = out / str(number)
    folder.mkdir(parents=True)
    lines = {}
    with tqdm(total=len(wanted), desc="page", unit="sample") as progress:
        for shard in zip(run.generation, run.maps, strict=True):
            made, header = read_header(shard[0])["run"], read_maps_header(shard[1])
            for generation, maps in read_pairs(*shard, [*shown], None if most is None else wanted):
                sample = sample_of(generation, listed, run.samples_file)
                line = _write_sample(generation, maps, sample, scores, run.samples_file.parent, folder, made, header)
                lines[generation.row] = {"run": number} | line
                progress.update()
    about = {
        "dataset": run.dataset, "model": run.model, "of": len(listed), "notes": notes_on(shown),
        "names": [*shown], "methods": [*shown.values()], "groups": grouped(shown),
        "main": [*shown].index(main_method(shown)),
        "facts": facts(read_header(run.generation[0])["run"], read_maps_header(run.maps[0]).protocol),
    }  # fmt: skip
    return about, [lines[row] for row in sorted(lines)]


def _write_sample(
    generation: Generation, maps: dict[str, SampleMaps], sample: Sample, scores: RunScores, media: Path, folder: Path,
    made: Mapping[str, Any], header: MapsHeader,
) -> dict[str, Any]:  # fmt: skip
    """Write the files of a sample, whose media lie in ``media``, whose answer was made as ``made`` says, and its maps
    as ``header``; what the gallery says of it."""
    name = f"{generation.row:08d}"
    opened = partial(open_shown, sample, media, generation.layout)
    described, drawn = pictures(generation, sample.kind == "video", opened)
    whole = [webp(picture) for picture in drawn]
    if drawn:
        (folder / f"{name}.webp").write_bytes(card(drawn[0], whole[0]))
    places, others = considered(generation, protocol(header.protocol), header.eci_cap)
    data = describe(generation, maps.values(), scores.of(sample.id), made.get("layer"), places) | described
    if meets_photo(str(made.get("model")), generation.layout):
        data["note"] = PHOTO
    photos = [*map(in_base64, whole)]
    write_script(
        folder / f"{name}.js", "receiveSample", packed_json(data), packed(numbers(maps.values(), others)), photos
    )
    status = next((one.status for one in maps.values() if one.failed), generation.status)
    return {
        "name": name, "id": sample.id, "status": status, "kind": kind(status), "answer": generation.answer,
        "prompt": generation.prompt, "picture": bool(data["panels"]), "scores": scores.means(sample.id),
    }  # fmt: skip


def _copy_assets(out: Path) -> str:
    """Copy styles and scripts; returns ``index.html``."""
    texts = assets()
    index = texts.pop("index.html")
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    return index
