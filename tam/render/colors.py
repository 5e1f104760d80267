"""Colours: the jet map of the paper, and the few greys around it."""

import cv2
import numpy as np

WHITE, BLACK, LATER, NOTE = (255, 255, 255), (0, 0, 0), (200, 200, 200), (110, 110, 110)
# OpenCV's table, which the published pictures use; the reshape keeps OpenCV 4 and 5 alike
JET = cv2.applyColorMap(np.arange(256, dtype=np.uint8).reshape(-1, 1), cv2.COLORMAP_JET)[:, 0, ::-1].copy()


def jet(values: np.ndarray) -> np.ndarray:
    """uint8 RGB ``[..., 3]`` of values in [0, 1]; what lies outside is clipped."""
    return JET[np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)]
