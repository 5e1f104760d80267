"""LaTeX tables in one document: ``python -m tests.compiled RESULTS PDF``, or ``make tables``."""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ENGINES = ("pdflatex", "xelatex")
# What a reader would see: lines or boxes over the edge, lost letters, labels that mean two things.
FAULTS = re.compile(
    r"^(?:Overfull|LaTeX Warning: (?:Float too large|There were multiply|Label `)|Missing character|!).*", re.M
)


class Compiled(NamedTuple):
    """Attributes: faults: of the log. widths: of tables that were shrunk to the line, in points."""

    pages: int
    faults: list[str]
    widths: list[float]


def compiled(tables: Sequence[Path], out: Path, engine: str = "pdflatex") -> Compiled:
    """One PDF of all files, with the packages alone that each of them asks for; RuntimeError: it does not compile."""
    inputs = "\n".join(rf"\input{{\detokenize{{{path.resolve()}}}}}\clearpage" for path in tables)
    shrunk = r"\let\shrunk\resizebox\def\resizebox{\typeout{width \the\wd0}\shrunk}"
    document = (
        rf"\documentclass{{article}}\usepackage{{booktabs,graphicx}}{shrunk}\begin{{document}}{inputs}\end{{document}}"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "tables.tex").write_text(document, encoding="utf-8")
        command = [engine, "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
        done = subprocess.run(
            command, cwd=folder, env=_ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stdout[-2000:])
        shutil.copyfile(Path(folder, "tables.pdf"), out)
    (pages,) = re.findall(r"Output written on tables\.pdf \((\d+) page", done.stdout)
    widths = [float(width) for width in re.findall(r"^width ([\d.]+)pt", done.stdout, re.M)]
    return Compiled(int(pages), FAULTS.findall(done.stdout), widths)


_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "max_print_line": "1000"}

if __name__ == "__main__":
    results, out = map(Path, sys.argv[1:])
    found = sorted(results.glob("tables/*.tex")) + sorted(results.glob("*/*/tables/*.tex"))
    print(f"{out}: {len(found)} files, {compiled(found, out).pages} pages")
