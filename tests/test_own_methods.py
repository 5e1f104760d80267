"""Methods of one's own: found by file, by package or as they are, and whatever they do costs nobody else anything."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tam
from tam.errors import InputError
from tam.maps import read_maps, read_maps_header
from tam.methods.cached import Cached
from tam.methods.registry import METHODS, find, find_all
from tam.methods.stage import write_maps
from tam.protocol import FIXED
from tests.test_maps import made, mapped, written

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("options", ["", " --eci-cap 0.5"])
def test_what_the_readme_says_is_so_word_for_word(tmp_path, options):
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## A method of your own\n")[1].split("\n## ")[0]
    assert len(section.splitlines()) <= 15
    (code,), (command,) = (re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL) for kind in ("python", "bash"))
    (tmp_path / "my_methods.py").write_text(code)
    written(tmp_path / "results/emoji/tiny-qwen2-vl/generate/0-of-2.h5", made())
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/tam").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m tam "$@"\n')
    (tmp_path / ".venv/bin/tam").chmod(0o755)
    done = subprocess.run(
        command.strip() + options, shell=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "mine.h5: 1 ok\n"), done.stderr
    ((name, found),) = next(read_maps(tmp_path / "mine.h5")).items()
    assert name == "inverse"
    expected = 1 - mapped("tam", made(), eci_cap=0.5 if options else None).maps
    assert np.array_equal(found.maps, expected.astype(np.float16))


FILE = """
from dataclasses import dataclass
import numpy as np
import torch
import tam

@dataclass
class Some:
    value: "float"

def half(cached):
    return np.full(cached.tam.maps.shape, Some(0.5).value)

titled = tam.Method("half-titled", "A half", half)
other = tam.Method("tam", "Not TAM", half)
number = 7
nameless = lambda cached: half(cached)

def tensor(cached):
    return torch.tensor(half(cached)).bfloat16().float()

def raises(cached):
    some = cached.tam
    raise ValueError("two\\nlines")

def divides(cached):
    return 1 / 0

def refuses(cached, more):
    return 0

def wrong(cached):
    return half(cached)[:, 1:]

def nan(cached):
    return half(cached) * np.nan

def above(cached):
    return half(cached) * 3

def complex_(cached):
    return half(cached) * 1j

def nothing(cached):
    pass

def spoils(cached):
    cached.tam.maps[:] = 0
    return half(cached)

def spoils_logits(cached):
    cached.generation.logits[:] -= 1
    return half(cached)
"""


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(FILE)
    return tmp_path / "own.py"


def test_a_method_is_found_by_its_file_by_its_package_and_as_it_is(file, monkeypatch):
    monkeypatch.syspath_prepend(file.parent)
    by_file, by_path, by_package = (find(f"{place}:half") for place in ("own.py", file, "own"))
    as_it_is = find(by_package.function)
    for method in (by_file, by_path, by_package, as_it_is):
        assert (method.name, method.title, method.group) == ("half", "half", "own")
        assert (method.maps(Cached(made())).maps == 0.5).all()
    titled = find("own.py:titled")
    assert (titled.name, titled.title) == ("half-titled", "A half")
    assert find(titled) is titled
    assert find(METHODS["tam"]) is find("tam") is METHODS["tam"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cam", r"unknown method; got 'cam', did you mean 'tam'\?"),
        ("???", r"unknown method; got '\?\?\?'; expected .*activation or eci or rgf or tam or FILE.py:FUNCTION"),
        ("none.py:half", "none.py: no such file of methods"),
        ("own.py:haft", r"own.py: no such method; got 'haft', did you mean 'half'\?"),
        ("own.py:number", "own.py: no such method; got 'number'"),
        ("own.py:", "own.py: no such method"),
        (":half", "methods cannot be imported"),
        ("no.such.package:half", "no.such.package: methods cannot be imported; got ModuleNotFoundError"),
        ("broken.py:half", r"broken.py: methods cannot be imported; got SyntaxError: .*line 1"),
        ("own.py:other", "own.py:other': a name that a method of one's own cannot have; got 'tam'"),
        ("own.py:nameless", r"cannot have; got '<lambda>'; .*cure: give tam.Method\(name, title, function\)"),
    ],
)
def test_what_is_no_method_is_refused_with_the_cure(file, name, said):
    (file.parent / "broken.py").write_text("def half(:\n")
    with pytest.raises(InputError, match=said):
        find(name)


def test_two_methods_of_one_name_are_refused(file):
    with pytest.raises(InputError, match="two methods of one name; got 'half'"):
        find_all(["own.py:half", "tam", f"{file}:half"])


def test_what_own_code_raises_or_gives_costs_that_method_of_that_sample_alone(file):
    said = {
        "raises": r"failed: a: method raises raised; got ValueError: two lines \(line 24 of own.py\)",
        "divides": r"failed: a: method divides raised; got ZeroDivisionError",
        "refuses": r"failed: a: method refuses raised; got TypeError: .*'more'",
        "wrong": r"failed: a: method wrong gave no maps; got float64 \(5, 2\), from 0.5 to 0.5; expected \(5, 3\) in",
        "nan": r"failed: a: method nan gave no maps; got float64 \(5, 3\), from nan to nan",
        "above": r"failed: a: method above gave no maps; got float64 \(5, 3\), from 1.5 to 1.5",
        "complex_": r"failed: a: method complex_ gave no maps; got complex128 \(5, 3\);",
        "nothing": r"failed: a: method nothing gave no maps; got object \(\);",
        "spoils": r"failed: a: method spoils raised; got ValueError: .*read-only",
        "spoils_logits": r"failed: a: method spoils_logits raised; got ValueError: .*read-only",
    }
    names = ["eci", *(f"own.py:{name}" for name in said), "own.py:half", "own.py:tensor", "tam"]
    generation = written(file.parent / "g.h5", made())
    counts = write_maps(generation, file.parent / "m.h5", names, FIXED)
    assert counts == ({"ok": 1}, dict.fromkeys(said, 1))
    (found,) = read_maps(file.parent / "m.h5")
    for name, expected in said.items():
        assert re.match(expected, found[name].status), found[name].status
    assert [name for name, one in found.items() if one.status == "ok"] == ["eci", "half", "tensor", "tam"]
    for name in ("eci", "tam"):
        assert np.array_equal(found[name].uint8, mapped(name, made()).uint8)
    assert read_maps_header(file.parent / "m.h5").methods["half"] == "half"


def test_importing_what_a_method_needs_loads_nothing_heavy():
    code = "import sys, tam; tam.Method; assert not {'torch', 'cv2', 'h5py', 'transformers'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert tam.Method.__module__ == "tam.methods.method"
