"""Answers, with the logits that maps need."""

from pathlib import Path
from typing import Annotated

import typer

from tam.cli.options import (
    Device,
    Dtype,
    Layer,
    Load,
    ManifestFile,
    MaxNewTokens,
    MaxPixels,
    Model,
    Revision,
    Store,
    Strict,
    TemplateOptions,
    TrustRemoteCode,
    chat_template,
    checkpoint_of,
    number_or,
)
from tam.cli.output import check_out, report
from tam.system import stop
from tam.system.mark import MAKER

commands = typer.Typer()


@commands.command()
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

    check_out(manifest, answers, out=out, sign="tam-generation")
    with stop.put_off(), lease(out, store), claim(device) as device:
        counts = generate(
            manifest,
            Shard.parse(shard),
            checkpoint_of(model),
            out,
            max_new_tokens=max_new_tokens,
            batch_size=number_or("auto", "--batch-size", batch_size),
            answers=answers,
            revision=revision,
            device=device,
            dtype=dtype,
            layer=layer,
            trust_remote_code=trust_remote_code,
            max_pixels=max_pixels,
            template=chat_template(template),
            one_tile=one_tile,
            load=load,
            store=store,
            candidates=candidates,
        )
    report(counts, out, strict)


@commands.command()
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

    check_out(manifest, out=out, sign=MAKER)
    with stop.put_off():
        counts = ask(
            manifest, Shard.parse(shard), url, model, out, max_new_tokens=max_new_tokens, concurrency=concurrency
        )
    report(counts, out, strict)
