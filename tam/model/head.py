"""What the output head says: its full logits, some rows at a time, and the best classes of each row."""

from collections.abc import Iterator

import numpy as np
import torch

from tam.records import Candidates

CANDIDATES = 5

# Largest piece of the full logits that exists at a time. A sample of Qwen2-VL-2B has 0.5 GB of them.
BLOCK_BYTES = 64 * 2**20


def blocks(head: torch.nn.Linear, states: torch.Tensor) -> Iterator[torch.Tensor]:
    """The full logits of ``states`` [row, width], some rows at a time: [rows of the block, vocabulary].

    A product with the occurring classes' weights alone would be faster, but rounds differently: how a matrix product
    is summed depends on its shape. The whole head costs a few per cent of what it takes to read the prompt.
    """
    rows = max(1, BLOCK_BYTES // (head.out_features * states.element_size()))
    return (head(block) for block in states.split(rows))


def best_of(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """ids and logits [row, k] of the best classes of each row of ``logits`` [row, vocabulary], and logsumexp [row]."""
    values, ids = logits.topk(min(CANDIDATES, logits.shape[-1]))
    return ids, values.float(), logits.float().logsumexp(-1)


def best_rows(head: torch.nn.Linear, states: torch.Tensor) -> list[torch.Tensor]:
    """``best_of`` for each of ``states`` [row, width]."""
    return [*map(torch.cat, zip(*map(best_of, blocks(head, states)), strict=True))]


def likeliest(ids: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """int64 [row]: the first that ``candidates_of`` gives, of what ``best_of`` gave; a class also where all is NaN."""
    return torch.where(values < values.amax(-1, keepdim=True), torch.iinfo(ids.dtype).max, ids).amin(-1)


def columns(head: torch.nn.Linear, states: torch.Tensor, classes: torch.Tensor, owner: torch.Tensor) -> torch.Tensor:
    """[row, class]: of each of ``states`` [row, width] the logits of its own sample's classes.

    Args:
        classes: int64 [sample, class]. owner: int64 [row], the sample of each row.
    """
    found, start = [], 0
    for block in blocks(head, states):
        its = classes[owner[start : start + len(block)]]
        found.append(block.gather(1, its.to(block.device)))
        start += len(block)
    return torch.cat(found)


def chances_of(head: torch.nn.Linear, states: torch.Tensor, ids: np.ndarray) -> np.ndarray:
    """float32 [row]: the probability of class ``ids[row]``, given ``states`` [row, width]."""
    wanted = torch.from_numpy(np.asarray(ids, np.int64))
    found, start = [np.zeros(0, np.float32)], 0
    for block in blocks(head, states):
        its = wanted[start : start + len(block), None].to(block.device)
        found.append(block.float().log_softmax(-1).gather(1, its)[:, 0].exp().cpu().numpy())
        start += len(block)
    return np.concatenate(found)


def on_host(*tensors: torch.Tensor) -> list[np.ndarray]:
    """Copies on the host, numbers as float32. It waits once: a device copies in order, so the last one is the last."""
    *others, last = tensors
    copies = [*(tensor.to("cpu", non_blocking=True) for tensor in others), last.cpu()]
    return [(copy.float() if copy.is_floating_point() else copy).numpy() for copy in copies]


def candidates_of(ids: np.ndarray, values: np.ndarray, logsumexp: np.ndarray) -> Candidates:
    """What ``best_of`` gave; of equal classes the smaller id comes first, as for argmax."""
    classes = ids.astype(np.int32)
    order = np.lexsort((classes, -values))
    return Candidates(np.take_along_axis(classes, order, -1), np.take_along_axis(values, order, -1), logsumexp)


def joined(first: Candidates, second: Candidates) -> Candidates:
    pairs = ((getattr(first, name), getattr(second, name)) for name in ("ids", "logits", "logsumexp"))
    return Candidates(*map(np.concatenate, pairs))
