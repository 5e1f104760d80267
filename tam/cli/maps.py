"""Scores of methods that need the model, and the maps of all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from tam.cli.options import (
    Device,
    EciCap,
    GenerationFile,
    ManifestFile,
    Model,
    ProtocolName,
    Revision,
    Store,
    TrustRemoteCode,
    checkpoint_of,
    number_or,
)
from tam.cli.output import check_out
from tam.errors import InputError
from tam.system import stop

commands = typer.Typer()


@commands.command()
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
        chunk=number_or("auto", "--chunk", chunk),
        prompt=prompt,
        attention_layers=_layers(attention_layers),
        answer_layer=answer_layer,
        surgery_layers=number_or("half", "--surgery-layers", surgery_layers) or "half",
        occlusion_cells=occlusion_cells,
        occlusion_step=occlusion_step,
    )
    check_out(generation, manifest, out=out, sign="tam-scores")
    with (
        stop.put_off(),
        lease(out, store),
        set_aside(out, inputs(generation=[generation])),
        claim(device) as device,
    ):
        statuses, failures = write_attribution(
            generation, manifest, checkpoint_of(model), out, method, settings, revision=revision, device=device,
            trust_remote_code=trust_remote_code, store=store,
        )  # fmt: skip
    _report_methods(statuses, failures, out, strict)


@commands.command()
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

    check_out(generation, scores, out=out, sign="tam-maps")
    with set_aside(out, inputs(generation=[generation], scores=[scores] if scores else [])):
        statuses, failures = write_maps(
            generation, out, method or ["tam"], named(protocol), exact=exact, eci_cap=eci_cap, scores_path=scores,
            sign=sign_of(sign), scope=scope_of(scope),
        )  # fmt: skip
    _report_methods(statuses, failures, out, strict)


def _layers(text: str) -> Literal["last", "all"] | tuple[int, ...]:
    if text == "last":
        return "last"
    if text == "all":
        return "all"
    numbers = text.split(",")
    if not all(number.isdecimal() for number in numbers):
        raise InputError("wrong layers", where="--attention-layers", got=repr(text), expected="last, all, or 1,2,...")
    return tuple(map(int, numbers))


def _report_methods(statuses: Mapping[str, int], failures: Mapping[str, int], out: Path, strict: bool) -> None:
    """Say how samples and methods fared; with ``strict`` a failed one is an error."""
    said = [", ".join(f"{number} {status}" for status, number in statuses.items()) or "no samples"]
    said += [f"{name} failed on {number}" for name, number in failures.items()]
    print(f"{out}: {'; '.join(said)}")
    if strict and ("failed" in statuses or failures):
        raise InputError("samples failed", where=out, got="; ".join(said))
