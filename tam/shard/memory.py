"""How many samples the device takes at once: what fits beside the weights, found by measuring."""

import contextlib
from collections.abc import Iterator, Sequence

import torch

# A GPU starts small, so that it soon has something to do, and doubles: what it needs grows with padded tokens, so the
# batch before says what the next takes. More than the most saves little: by then the arithmetic takes the time.
FIRST, MOST = 8, 256
# Of the free memory: what is left covers longer answers than in the batch before, and gaps between blocks.
SHARE = 0.8
# A CPU gains little from more, and a killed shard loses less.
ON_CPU = 16


class Budget:
    """Decides what goes into a batch. A padded token is what a batch's memory grows with: count times longest prompt.

    Attributes:
        size: samples a batch that were asked for, or on a CPU; None where memory decides.
    """

    def __init__(self, device: torch.device, size: int | None = None):
        self.device = device
        self.size = size if size is not None or device.type == "cuda" else ON_CPU
        self._samples = self.size or FIRST
        self._tokens = self._too_many = float("inf")

    def holds(self, lengths: Sequence[int]) -> bool:
        """Whether prompts of so many tokens go into one batch; a single one always does."""
        most = min(self._tokens, self._too_many)
        return len(lengths) == 1 or (len(lengths) <= self._samples and padded(lengths) <= most)

    @contextlib.contextmanager
    def measured(self, lengths: Sequence[int]) -> Iterator[None]:
        """Around the work on a batch: learn from what it took, unless it fails."""
        if self.size is not None:
            yield
            return
        before = {card: torch.cuda.memory_allocated(card) for card in self._cards()}
        for card in before:
            torch.cuda.reset_peak_memory_stats(card)
        yield
        fits = []
        for card, held in before.items():
            taken = torch.cuda.max_memory_allocated(card) - held
            free = torch.cuda.mem_get_info(card)[0] + torch.cuda.memory_reserved(card) - held
            fits.append(free / max(taken, 1))
        self._tokens = SHARE * min(fits) * padded(lengths)
        self._samples = min(MOST, max(self._samples, 2 * len(lengths)))

    def _cards(self) -> list[torch.device]:
        """Those that hold a part of the model. One that nothing is on is not even opened."""
        found = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
        return [card for card in found if torch.cuda.memory_allocated(card)] or [self.device]

    def too_small(self, lengths: Sequence[int]) -> None:
        """A batch did not fit: from now on half of it is the most."""
        self._too_many = min(self._too_many, padded(lengths) / 2)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def padded(lengths: Sequence[int]) -> int:
    return len(lengths) * max(lengths)
