"""The ``tam`` command."""

import atexit
import os
import sys

from tam.cli import main


def command() -> None:
    """Run it, and end the process at once: to take apart what was imported is a second of work, with PyTorch in it."""
    code: object = None
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    if not isinstance(code, int | None):  # a message, which Python would print
        print(code, file=sys.stderr)
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    command()
