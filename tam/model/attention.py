"""How attention is computed on a GPU."""

import contextlib
from collections.abc import Iterator

from torch.backends import cuda


@contextlib.contextmanager
def fused_without_plans() -> Iterator[None]:
    """PyTorch's fused attention but cuDNN's, which plans anew for every length of the keys: at each step of decoding.

    PyTorch prefers cuDNN's on recent cards. Afterwards it may as before.
    """
    before = cuda.cudnn_sdp_enabled()
    cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        cuda.enable_cudnn_sdp(before)
