"""Loading large libraries in a command that ends after one question."""

import subprocess
import sys

PROGRAM = """
import atexit, gc
from tam.system.imports import uncollected

atexit.register(lambda: print(gc.isenabled(), gc.get_freeze_count()))  # handlers run last first
with uncollected():
    print(gc.isenabled())
    import decimal
print(gc.isenabled(), gc.get_freeze_count() > 0)
"""


def test_collections_pass_by_what_was_imported_and_the_end_collects_nothing():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False", "True True", "False 0"]
