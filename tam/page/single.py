"""The page of one sample in memory, as one HTML file that needs nothing beside it."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tam.media import Media
from tam.methods.rivals import notes_on
from tam.page.considered import considered
from tam.page.facts import PHOTO, checkpoint_name, facts, grouped, meets_photo
from tam.page.sample import STEPS, describe, kind, numbers, pictures, webp
from tam.page.scripts import assets, color_maps, in_base64, literal, packed, packed_json
from tam.protocol import FIXED
from tam.records import Generation, Maps, SampleMaps


def single_page(
    generation: Generation, maps: Mapping[str, Maps], titles: Mapping[str, str], media: Media, main: str,
    made: Mapping[str, Any], protocol: str,
) -> str:  # fmt: skip
    """Words to hover over and methods to switch between, without scores and gallery.

    Args:
        maps: method -> its maps. titles: method -> title. main: the method that is shown first.
        made: how the answer came about, as ``facts.facts`` takes it; "model" is the checkpoint, "layer" that of the
            logits, None the last, "eci_cap" the most that the scale of interference might be.
    """
    key = "0/0"
    described, drawn = pictures(generation, media.video, lambda: media)
    stored = [SampleMaps(generation.id, generation.status, **vars(one)) for one in maps.values()]
    places, others = considered(generation, FIXED, made.get("eci_cap"))
    data = describe(generation, stored, [], made.get("layer"), places) | described
    if meets_photo(str(made.get("model")), generation.layout):
        data["note"] = PHOTO
    arguments = packed_json(data), packed(numbers(stored, others)), [in_base64(webp(picture)) for picture in drawn]
    line = {
        "run": 0, "name": "0", "id": generation.id, "status": generation.status, "kind": kind(generation.status),
        "answer": generation.answer, "prompt": generation.prompt, "picture": False, "scores": [[] for _ in maps],
    }  # fmt: skip
    run = {
        "dataset": "", "model": checkpoint_name(made), "names": [*maps], "methods": [titles[name] for name in maps],
        "groups": grouped(maps), "main": [*maps].index(main), "notes": notes_on(maps), "facts": facts(made, protocol),
    }  # fmt: skip
    gallery = {"metrics": [], "colors": color_maps(), "steps": STEPS, "runs": [run | {"of": 1}], "samples": [line]}
    given = ",".join(map(literal, (key, *arguments)))
    data_script = f"showGallery({literal(gallery)});\nembedSample({given});"
    texts = assets()
    order = re.findall(r'<script src="page/(.*?)"', texts["index.html"])
    scripts = [data_script if name == "gallery.js" else texts[name] for name in order]
    return _in_one_file(texts["index.html"], texts["style.css"], scripts)


def _in_one_file(index: str, style: str, scripts: Sequence[str]) -> str:
    """``index.html`` with styles and scripts in place of the links to them; only these, by their hashes, may run."""
    policy = f"default-src 'none'; img-src data:; script-src {_hashes(scripts)}; style-src {_hashes([style])}"
    page = re.sub(r" *<script src=.*\n", "", index)
    page = re.sub(r'(?<=content=")default-src[^"]*', lambda _: policy, page)
    page = re.sub(r'<link rel="stylesheet".*', lambda _: f"<style>{style}</style>", page)
    return page.replace("</body>", "".join(f"<script>{text}</script>\n" for text in scripts) + "</body>")


def _hashes(texts: Sequence[str]) -> str:
    digests = (in_base64(hashlib.sha256(text.encode("utf-8")).digest()) for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests)
