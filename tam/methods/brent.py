"""The scale of interference as the published code finds it: Brent's search, step by step as SciPy takes it.

The closed form is the same number but for its last bits. They seldom move a pixel, and then by 1; save on flat windows,
which the published filter makes black where the mean of nine equal values is that value again, and else keeps.
"""

from collections.abc import Generator

import numpy as np

TOLERANCE, LEAST_STEP, STEPS = 1.48e-8, 1e-11, 500
GROWTH, FURTHEST, SECTION, TINY = 1.618034, 110.0, 0.3819660, 1e-21

Search = Generator[float, float, float]
"""Asks for the value at places, returns the place of the least."""


def least_squares_scale(image: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """The s that leaves least of ``image - s estimate``, float64 [token]; 0 where ``estimate`` says nothing.

    Args:
        image, estimate: float64 [token, vision].
    """
    scale, searches = np.zeros(len(image)), {token: _search() for token in range(len(image))}
    asked = [next(search) for search in searches.values()]
    while searches:
        tokens = list(searches)
        left = image[tokens] - estimate[tokens] * np.array(asked)[:, None]
        asked = []
        for token, value in zip(tokens, np.square(left).sum(1).tolist(), strict=True):
            try:
                asked.append(searches[token].send(value))
            except StopIteration as found:
                scale[token] = found.value
                del searches[token]
    return scale


def _search() -> Search:
    """Parabolas through the three best places, golden sections where they lead nowhere; once there is a bracket."""
    xa, xb, xc, fa, fb, fc = yield from _bracket()
    if not ((fb < fc and fb <= fa) or (fb < fa and fb <= fc)):
        return min((fa, 0, xa), (fb, 1, xb), (fc, 2, xc))[2]
    x = w = v = xb
    fx = fw = fv = fb
    low, high = min(xa, xc), max(xa, xc)
    reach = step = 0.0
    for _ in range(STEPS):
        near = TOLERANCE * abs(x) + LEAST_STEP
        middle = 0.5 * (low + high)
        if abs(x - middle) < 2 * near - 0.5 * (high - low):
            break
        parabola = False
        if abs(reach) > near:
            t1, t2 = (x - w) * (fx - fv), (x - v) * (fx - fw)
            p, q = (x - v) * t2 - (x - w) * t1, 2 * (t2 - t1)
            p, q = -p if q > 0 else p, abs(q)
            parabola = q * (low - x) < p < q * (high - x) and abs(p) < abs(0.5 * q * reach)
            reach = step
            if parabola:
                step = p / q
                if x + step - low < 2 * near or high - (x + step) < 2 * near:
                    step = near if middle >= x else -near
        if not parabola:
            reach = low - x if x >= middle else high - x
            step = SECTION * reach
        u = x + (step if abs(step) >= near else near if step >= 0 else -near)
        fu = yield u
        if fu > fx:
            low, high = (u, high) if u < x else (low, u)
            if fu <= fw or w == x:
                v, fv, w, fw = w, fw, u, fu
            elif fu <= fv or v in (x, w):
                v, fv = u, fu
        else:
            low, high = (x, high) if u >= x else (low, x)
            v, fv, w, fw, x, fx = w, fw, x, fx, u, fu
    return x


def _bracket() -> Generator[float, float, tuple[float, float, float, float, float, float]]:
    """Downhill from 0 and 1 to three places and their values, the least in the middle."""
    xa, xb = 0.0, 1.0
    fa, fb = (yield xa), (yield xb)
    if fa < fb:
        xa, xb, fa, fb = xb, xa, fb, fa
    xc = xb + GROWTH * (xb - xa)
    fc = yield xc
    while fc < fb:
        t1, t2 = (xb - xa) * (fb - fc), (xb - xc) * (fb - fa)
        bend = 2 * (t2 - t1 if abs(t2 - t1) >= TINY else TINY)
        w = xb - ((xb - xc) * t2 - (xb - xa) * t1) / bend
        furthest = xb + FURTHEST * (xc - xb)
        if (w - xc) * (xb - w) > 0:
            fw = yield w
            if fw < fc:
                return xb, w, xc, fb, fw, fc
            if fw > fb:
                return xa, xb, w, fa, fb, fw
            w = xc + GROWTH * (xc - xb)
        elif (w - furthest) * (furthest - xc) >= 0:
            w = furthest
        elif (w - furthest) * (xc - w) > 0:
            fw = yield w
            if fw < fc:
                xb, xc, fb, fc = xc, w, fc, fw
                w = xc + GROWTH * (xc - xb)
        else:
            w = xc + GROWTH * (xc - xb)
        fw = yield w
        xa, xb, xc, fa, fb, fc = xb, xc, w, fb, fc, fw
    return xa, xb, xc, fa, fb, fc
