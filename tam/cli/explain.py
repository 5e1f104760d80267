"""One question at a time, without a dataset: pictures on the disk, and a page in the browser."""

import contextlib
import difflib
import textwrap
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tam.cli.options import (
    Device,
    Dtype,
    EciCap,
    Layer,
    Load,
    MaxNewTokens,
    MaxPixels,
    Model,
    Revision,
    TemplateOptions,
    TrustRemoteCode,
    chat_template,
    checkpoint_of,
)
from tam.cli.output import check_out
from tam.errors import InputError
from tam.system import stop
from tam.system.mark import MAKER

if TYPE_CHECKING:
    from tam.explanation import Explanation, Word
    from tam.selection import Wanted

commands = typer.Typer()


@commands.command()
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
    from tam.figures.kinds import check_name
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
    for_template = chat_template(template)
    check_cap(eci_cap, FIXED)
    check_layer_of(methods, layer)
    table(colormap)
    if figure is not None:
        check_out(*picture, out=figure, sign=MAKER)
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

    loaded = checkpoint.load(checkpoint_of(model), revision, device, dtype, trust_remote_code, load)
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


@commands.command()
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

    methods, for_template = find_all(method or ["tam"]), chat_template(template)
    check_cap(eci_cap, FIXED)
    check_layer_of(methods, layer)

    from tam.model.checkpoint import load

    loaded = load(checkpoint_of(model), revision, device, dtype, trust_remote_code)

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
