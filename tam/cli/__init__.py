"""``tam STAGE ...``: what a rule of the workflow calls, a person can call."""

import io
import logging
import os
import sys
from typing import Annotated

import typer

import tam
from tam.cli import dataset, evaluation, explain, generation, maps, pictures, workflow
from tam.errors import TamError
from tam.system import stop

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for group in (generation, maps, evaluation, pictures, workflow, explain):
    app.add_typer(group.commands)
app.add_typer(dataset.commands, name="dataset")

EXTRAS = {
    "nltk": "eval", "pandas": "eval", "pycocotools": "eval", "rouge": "eval", "scipy": "eval", "yaml": "eval",
    "openai": "engine", "gradio": "demo", "jsonschema": "workflow", "snakemake": "workflow",
}  # fmt: skip
"""Package that not everybody installs -> the extra that brings it."""


def _say_version(asked: bool) -> None:
    if asked:
        print(f"tam {tam.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Say the version, and stop.", is_eager=True, callback=_say_version)
    ] = False,
) -> None:
    """Token activation maps: the image or video evidence behind every token of a multimodal LLM."""


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
