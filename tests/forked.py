"""Jobs of the workflow that start at once: ``python -m tam ...`` in a fork of one process that has loaded everything.

A job of Snakemake is a process of its own, which loads torch and transformers anew. Where hundreds of tiny ones are
run, that is nearly all that they cost. Here ``python`` of the rules hands its words, environment and output to a
server, which forks; what is killed or signalled there is so here. All else about a job is as it is.
"""

import contextlib
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path

LOADED = (
    "tam.attribution.stage", "tam.datasets.anno", "tam.datasets.coco", "tam.embedded", "tam.figures.stage",
    "tam.generation.stage", "tam.methods.stage", "tam.metrics.stage", "tam.page.stage", "tam.tables.overview",
    "tam.tables.ablation", "tam.model.checkpoint", "pandas", "nltk", "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_pdf", "matplotlib.backends.backend_svg", "scipy.optimize", "tests.tiny",
)  # fmt: skip
LONGEST = 1 << 18  # bytes of a job's words and environment

PYTHON = """#!{python} -SEs
import json, os, signal, socket, sys
if sys.argv[1:3] != ["-m", "tam"]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
link.connect({address!r})
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: link.send(bytes([number])))
socket.send_fds(link, [json.dumps([sys.argv[3:], dict(os.environ), os.getcwd()]).encode()], [1, 2])
code = link.recv(1)
sys.exit(code[0] if code else 1)
"""


@contextlib.contextmanager
def forked(folder: Path) -> Iterator[Path]:
    """A Python for Snakemake, made in ``folder``, whose rules call one that forks."""
    address = str(folder / "jobs")
    venv.create(folder / "env", symlinks=True)
    (site,) = (folder / "env/lib").glob("python*/site-packages")
    places = [path for path in sys.path if path.endswith("site-packages")]
    (site / "ours.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in places))
    rules = folder / "env/bin/python"
    rules.unlink()  # Snakemake itself runs as python3
    rules.write_text(PYTHON.format(python=os.path.realpath(sys.executable), address=address))
    rules.chmod(0o755)
    with subprocess.Popen([sys.executable, "-m", "tests.forked", address], start_new_session=True) as server:
        try:
            while not Path(address).exists():
                if server.poll() is not None:
                    raise RuntimeError("the server of jobs did not start")
                time.sleep(0.1)
            yield folder / "env/bin/python3"
        finally:
            server.kill()


def serve(address: str) -> None:
    """Fork for every job, for ever."""
    from tests import tiny

    for name in LOADED:
        importlib.import_module(name)
    import transformers

    for kind in tiny.KINDS:
        for part in ("ForConditionalGeneration", "Config", "Processor"):
            getattr(transformers, tiny.CLASS[kind] + part, None)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.bind(f"{address}.new")
        door.listen(16)
        Path(f"{address}.new").rename(address)
        while True:
            link, _ = door.accept()
            if os.fork():
                link.close()
                continue
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _attend(link)


def _attend(link: socket.socket) -> None:
    """Run one job, hand signals on to it, and answer with its exit code; it dies with who asked for it."""
    said, outputs, _, _ = socket.recv_fds(link, LONGEST, 2)
    words, environment, folder = json.loads(said)
    job = os.fork()
    if not job:
        link.close()
        for number, output in enumerate(outputs, 1):
            os.dup2(output, number)
        os._exit(_run(words, environment, folder))
    ended = os.pidfd_open(job)
    while True:
        ready, _, _ = select.select([ended, link], [], [])
        if ended in ready:
            code = os.waitstatus_to_exitcode(os.waitpid(job, 0)[1])
            with contextlib.suppress(OSError):
                link.send(bytes([code % 256]))
            os._exit(0)
        number = link.recv(1)
        os.kill(job, number[0] if number else signal.SIGKILL)


def _run(words: list[str], environment: dict[str, str], folder: str) -> int:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    # Python asked what the server's own were connected to, which may have been a file.
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, closefd=False) for number in (1, 2))
    sys.argv = ["tam", *words]
    code: object = 0
    try:
        runpy.run_module("tam", run_name="__main__")
    except SystemExit as error:
        code = error.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return int(code or 0) if isinstance(code, int) or code is None else 1


if __name__ == "__main__":
    serve(sys.argv[1])
