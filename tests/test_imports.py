"""Loading large libraries in a command that ends after one question."""

import subprocess
import sys

import pytest

COLLECTED = """
import gc
from tam.system.imports import uncollected

with uncollected():
    print(gc.isenabled())
    import decimal
print(gc.isenabled(), gc.get_freeze_count() > 0)
"""
ENDED = """
import atexit, sys
import tam.cli

def main():
    atexit.register(print, "handler")
    print("said", end="")
    sys.exit({0})

tam.cli.main = main
from tam.__main__ import command
command()
"""


def test_collections_pass_by_what_was_imported():
    done = subprocess.run([sys.executable, "-c", COLLECTED], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False", "True True"]


@pytest.mark.parametrize(
    ("ending", "code", "problem"), [("", 0, ""), ("75", 75, ""), ("'tam: error: x'", 1, "tam: error: x\n")]
)
def test_a_command_ends_at_once_with_its_status_and_all_it_has_said(ending, code, problem):
    done = subprocess.run([sys.executable, "-c", ENDED.format(ending)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, "saidhandler\n", problem)
