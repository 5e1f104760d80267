"""The workflow: run it, look before whether it can run and how far it is, and pin what it uses."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tam.cli.options import Device, Dtype, Load, Revision, TrustRemoteCode, checkpoint_of
from tam.errors import InputError

if TYPE_CHECKING:
    from tam.check.before import Finding

commands = typer.Typer()


@commands.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
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


@commands.command()
def pin(config: Annotated[Path, typer.Argument(help="A config of the workflow, which is edited.")]) -> None:
    """Write the current commits of a config's models and datasets into it, with their dates."""
    from tam.pin import pin

    for line in pin(config):
        print(line)


@commands.command()
def check(
    model: Annotated[str | None, typer.Argument(help="'embedded', a folder, or a name on the hub.")] = None,
    configfile: Annotated[Path | None, typer.Option(help="A config of the workflow, instead of a model.")] = None,
    revision: Revision = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    load: Load = None,
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
        from tam.model import checkpoint

        loaded = checkpoint.load(checkpoint_of(str(model)), revision, device, dtype, trust_remote_code, load)
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


@commands.command()
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
