"""Compare ``tam`` with outputs of the published code: ``python tests/check_golden.py FOLDER``.

One line a mismatch, a summary a file; exit status 1 where the exact maps differ at all, the fast ones in more than one
pixel of 10,000 (all cases of the folder together), or any by more than 1. Flat windows are counted apart for the fast
maps: there the published code goes by the last bit of a mean (docs/explained/protocol.md).
"""

import json
import math
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it can be run as a script

from tam.errors import TamError
from tam.methods import core
from tam.methods.plan import plan
from tam.methods.rank_filter import rank_gaussian_filter
from tam.protocol import REFERENCE
from tests.published_code import PublishedCode, find_spans

TOLERANCE = 1e-6
FAST_SHARE = 1e-4
MODES = {"exact": True, "fast": False}


@dataclass
class Result:
    """Counts of one file, by mode, and a line for each mismatch."""

    cases: int = 0
    at_once: int = 0
    pixels: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MODES, 0))
    different: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MODES, 0))
    greatest: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MODES, 0))
    mismatches: list[str] = field(default_factory=list)
    flat: int = 0

    def expect(self, where: str, got: object, expected: object) -> None:
        if got != expected:
            self.mismatches.append(f"{where}: got {got}, expected {expected}")

    def close(self, where: str, got, expected) -> None:
        """Floats, relative to their size where that is above 1; NaN only where NaN is expected."""
        got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
        if got.shape != expected.shape:
            self.expect(f"{where} shape", got.shape, expected.shape)
        elif not np.allclose(got, expected, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
            worst = np.nanmax(np.abs(got - expected))
            self.mismatches.append(f"{where}: differs by up to {worst}")

    def bytes(self, where: str, mode: str, got: np.ndarray, expected: np.ndarray, flat: np.ndarray | bool) -> None:
        if got.shape != expected.shape:
            self.expect(f"{where} shape", got.shape, expected.shape)
            return
        apart = np.abs(got.astype(int) - expected)
        if mode == "fast":
            self.flat += int((flat & (apart > 0)).sum())
            apart = np.where(flat, 0, apart)
        self.pixels[mode] += got.size
        self.different[mode] += int((apart > 0).sum())
        self.greatest[mode] = max(self.greatest[mode], int(apart.max(initial=0)))
        if mode == "exact" and apart.any():
            self.mismatches.append(f"{where}: {(apart > 0).sum()} of {got.size} pixels differ, by up to {apart.max()}")
        if mode == "fast" and apart.max(initial=0) > 1:
            self.mismatches.append(f"{where}, fast: a pixel differs by {apart.max()}")


def is_flat(grid: np.ndarray) -> np.ndarray:
    """bool [rows, columns]: whether all of a pixel's window is one value."""
    for axis in (0, 1):
        grid = np.pad(grid, [(1, 1) if each == axis else (0, 0) for each in (0, 1)], "reflect")
    windows = np.lib.stride_tricks.sliding_window_view(grid, (3, 3))
    return windows.min((2, 3)) == windows.max((2, 3))


def check_rank_filter(path: Path) -> Result:
    """``<case>/in``, ``out``, ``u8``: the filter alone. NaN in ``out`` is 0 in ours, as it is in ``u8``."""
    result, arrays = Result(), np.load(path)
    for name in (key.removesuffix("/in") for key in arrays.files if key.endswith("/in")):
        result.cases += 1
        flat = is_flat(arrays[f"{name}/in"])
        for mode, exact in MODES.items():
            filtered = rank_gaussian_filter(arrays[f"{name}/in"], protocol=REFERENCE, exact=exact)
            if exact:
                result.close(f"{name} floats", filtered, np.nan_to_num(arrays[f"{name}/out"]))
            result.bytes(name, mode, core.to_uint8(filtered), arrays[f"{name}/u8"], flat)
    return result


def check_least_squares(path: Path) -> Result:
    """``<case>/map``, ``interf``, ``x``, ``residual``: the scale alone."""
    result, arrays = Result(), np.load(path)
    for name in (key.removesuffix("/x") for key in arrays.files if key.endswith("/x")):
        result.cases += 1
        image, interference, scale = (arrays[f"{name}/{part}"] for part in ("map", "interf", "x"))
        one = np.ones((1, 1), np.float32)
        causal, found = core.estimated_causal_inference(
            image[None], interference[None], one, protocol=REFERENCE, exact=True
        )
        result.expect(f"{name} scale", found[0], scale)
        result.close(f"{name} residual", causal[0], arrays[f"{name}/residual"])
    return result


def check_cases(path: Path) -> Result:
    """``tam_cases.h5``: calls of the published entry point, a group a case."""
    result = Result()
    with h5py.File(path) as file:
        for name, group in file.items():
            result.cases += 1
            case = Case(name, group, path.parent / "tokenizers")
            flat: list[np.ndarray] = []
            for mode, exact in MODES.items():
                code = PublishedCode(
                    case.tokens, case.logits, case.meta["P"], case.meta["special_ids"], case.shape, case.retokenise,
                    draws=case.meta.get("save", False), eval_only=case.meta.get("eval_only", False), exact=exact,
                )  # fmt: skip
                _check_calls(result, f"{name}, {mode}", code, case)
                _check_passes(result, f"{name}, {mode}", code, case)
                flat = flat or [
                    np.concatenate([is_flat(grid).ravel() for grid in code.grids(one.normalised)])
                    for one in code.passes
                ]
                for index, (one, expected) in enumerate(zip(code.passes, case.maps, strict=False)):
                    result.bytes(f"{name}, pass {index}", mode, one.uint8, expected, flat[index])
                if case.in_order:
                    _check_one_call(result, f"{name}, {mode}, one call", exact, code, case, np.array(flat))
    return result


class Case:
    """One group of ``tam_cases.h5``."""

    def __init__(self, name: str, group: h5py.Group, tokenizers: Path):
        self.meta, self.expected = (json.loads(group.attrs[key]) for key in ("meta", "out_meta"))
        self.tokens = group["in/tokens"][()].tolist()
        self.logits = _logits({key: data[()] for key, data in group["in"].items() if key != "image"}, self.meta)
        number = torch.tensor if self.meta.get("vision_shape_as_tensors") else int
        self.shape = tuple(
            tuple(map(number, size)) if isinstance(size, list) else number(size) for size in self.meta["vision_shape"]
        )
        self.tokenizer = _tokenizer(tokenizers / f"{Path(self.meta['tokenizer']).stem}.json")
        self.out = {key: data[()] for key, data in group["out"].items() if not key.startswith("overlay")}
        self.maps = self.out.get("filt_u8", np.zeros((0, 0), np.uint8))

    @property
    def in_order(self) -> bool:
        """Whether the calls are those of a complete sample."""
        return self.meta["calls"] == list(range(self.meta["G"]))

    def retokenise(self, ids: list[int]) -> list[str]:
        return self.tokenizer.tokenize(
            self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        )


@cache
def _tokenizer(path: Path) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_file=str(path))


def _logits(given: dict[str, np.ndarray], meta: dict) -> np.ndarray:
    """float32 [row, vocabulary]; halves are widened."""
    if meta["logits"] == "dense":
        logits = given["dense"]
    else:
        weights = given["W"] if "W" in given else _formula(given["WA"], given["WB"], meta["V"])
        logits = given["hidden"].astype(np.float32) @ weights.astype(np.float32).T
        logits = (logits + given["bias"].astype(np.float32)) * np.float32(meta["scale"])
    return torch.from_numpy(logits).to(getattr(torch, meta["dtype"])).float().numpy()


def _formula(factor: np.ndarray, offset: np.ndarray, vocabulary: int) -> np.ndarray:
    ids = np.arange(vocabulary, dtype=np.int64)[:, None]
    return (ids * factor.astype(np.int64) + offset.astype(np.int64)) % 1000003 % 81 - 40


def _check_calls(result: Result, where: str, code: PublishedCode, case: Case) -> None:
    """Make the calls; compare exceptions by type, the length of the caller's list, and which map comes back."""
    for number, (target, call) in enumerate(zip(case.meta["calls"], case.expected["calls"], strict=False)):
        at, first, raised = f"{where}, call {number}", len(code.passes), None
        try:
            returned = code.call(target)
        except Exception as error:
            raised = type(error).__name__
        else:
            index = call.get("returned_pass")
            result.expect(f"{at} returns", index is not None and returned is code.passes[index], True)
        result.expect(f"{at} raises", raised, call["exc"][0] if "exc" in call else None)
        result.expect(f"{at} list", len(code.raw), call["n_list"])
        result.expect(f"{at} passes", [first, len(code.passes)], call["passes"])


def _check_passes(result: Result, where: str, code: PublishedCode, case: Case) -> None:
    """Everything but the maps."""
    expected, out, exact = case.expected, case.out, where.endswith("exact")
    result.expect(f"{where} passes", len(code.passes), expected["n_pass"])
    if not isinstance(case.meta["special_ids"]["img_id"], int):
        spans = code.spans
        result.expect(f"{where} prompt", [spans.prompt.start - 1, spans.prompt.stop], expected["prompt_idx"])
        result.expect(f"{where} answer", spans.answer.start - 1, expected["answer_start_idx"])
        result.expect(f"{where} pieces", list(code.pieces), [expected["prompt_txt"], expected["answer_txt"]])
    result.expect(f"{where} indices", [one.index for one in code.passes], expected.get("vis_token_idx", []))
    result.expect(f"{where} classes", [one.cls for one in code.passes], expected.get("cls_id", []))
    for index, one in enumerate(code.passes[: expected["n_pass"]]):
        at = f"{where}, pass {index}"
        result.close(f"{at} text", one.text, out["txt_scores"][index, : out["txt_len"][index]])
        if "filt" in out and exact:
            result.close(f"{at} floats", one.maps, np.nan_to_num(out["filt"][index]))
        if exact:
            result.close(f"{at} scale", one.scale, out["scale"][index])
        best = torch.from_numpy(case.logits[one.row, one.candidates]).to(getattr(torch, case.meta["dtype"]))
        result.close(f"{at} candidate scores", best.softmax(0).float(), out["candi_scores"][index])
        if not expected["candi_tie"][index]:
            result.expect(
                f"{at} candidates", [case.tokenizer.decode([i]) for i in one.candidates], expected["candidates"][index]
            )
    for index, length in enumerate(out.get("raw_len", ())):
        result.expect(f"{where} list, {index}", code.raw[index].tolist(), out["raw_img"][index, :length].tolist())


def _check_one_call(result: Result, where: str, exact: bool, code: PublishedCode, case: Case, flat: np.ndarray) -> None:
    """All maps of a complete sample at once, by ``plan`` and ``token_activation_maps``, if its parts can be told."""
    length, failure = case.meta["P"], next((call["exc"][0] for call in case.expected["calls"] if "exc" in call), None)
    try:
        spans = find_spans(case.tokens, case.meta["special_ids"], length, strict=True)
    except (TamError, TypeError):
        return
    shapes, positions = _shapes(case), np.arange(length)
    vision, prompt = positions[spans.vision], positions[spans.prompt]
    if spans != code.spans or len(vision) != sum(map(math.prod, shapes)):
        return
    result.at_once += exact
    try:
        first = int(case.logits[prompt[0]].argmax()) if len(prompt) else 0
        planned = plan(case.tokens, prompt, length, *code.pieces, first, REFERENCE)
        columns = case.logits[:, planned.classes].T
        rows = np.concatenate([prompt, np.arange(length - 1, len(case.logits))])
        maps = core.token_activation_maps(
            columns[:, vision], columns[:, rows], planned.pieces, planned.prompt_count, shapes,
            protocol=REFERENCE, exact=exact,
        )  # fmt: skip
    except TamError as error:
        result.expect(f"{where} fails ({error})", True, failure is not None)
        return
    result.expect(f"{where} raises", None, failure)
    result.expect(f"{where} classes", planned.classes, case.expected.get("cls_id", []))
    result.bytes(where, "exact" if exact else "fast", maps.uint8, case.maps, flat)


def _shapes(case: Case) -> list[tuple[int, int]]:
    if isinstance(case.shape[0], tuple):
        return [tuple(map(int, shape)) for shape in case.shape]
    *frames, rows, columns = map(int, case.shape)
    return [(rows, columns)] * math.prod(frames)


def check_folder(folder: Path) -> bool:
    """Check every file there is; whether all is well."""
    checks = {
        "rank_filter.npz": check_rank_filter,
        "least_squares.npz": check_least_squares,
        "tam_cases.h5": check_cases,
    }
    total = Result()
    for name, check in checks.items():
        if not (folder / name).exists():
            print(f"{name}: not in {folder}")
            continue
        result = check(folder / name)
        print(*result.mismatches, sep="\n", end="\n" if result.mismatches else "")
        print(f"{name}: {result.cases} cases, {len(result.mismatches)} mismatches{_more(result)}")
        total.mismatches += result.mismatches
        for mode in MODES:
            total.pixels[mode] += result.pixels[mode]
            total.different[mode] += result.different[mode]
    well = not total.mismatches and total.different["fast"] <= FAST_SHARE * total.pixels["fast"]
    if not (folder / "evaluate.h5").exists():
        print(f"evaluate.h5: not in {folder}")
        return well
    from tests.check_golden_evaluate import check_evaluate

    cases, mismatches = check_evaluate(folder / "evaluate.h5")
    print(*mismatches, sep="\n", end="\n" if mismatches else "")
    print(f"evaluate.h5: {cases} cases, {len(mismatches)} mismatches")
    return well and not mismatches


def _more(result: Result) -> str:
    told = [f"; {result.at_once} of the cases in one call, too"] if result.at_once else []
    told += [
        f"; {mode}: {result.different[mode]} of {result.pixels[mode]} pixels differ, by up to {result.greatest[mode]}"
        for mode in MODES
        if result.pixels[mode]
    ]
    return "".join(told + [f"; fast: {result.flat} pixels of flat windows differ"] * bool(result.flat))


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("usage: python tests/check_golden.py FOLDER")
    sys.exit(not check_folder(Path(sys.argv[1])))
