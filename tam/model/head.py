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
    return (head(block) for block in states.split(rows) if len(block))


def best_of(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """ids and logits [row, k] of the best classes of each row of ``logits`` [row, vocabulary], and logsumexp [row]."""
    values, ids = logits.topk(min(CANDIDATES, logits.shape[-1]))
    return ids, values.float(), logits.float().logsumexp(-1)


def best_rows(head: torch.nn.Linear, states: torch.Tensor) -> Candidates:
    """The best classes of each of ``states`` [row, width], of at least one row."""
    return candidates_of(*map(torch.cat, zip(*map(best_of, blocks(head, states)), strict=True)))


def chances_of(head: torch.nn.Linear, states: torch.Tensor, ids: np.ndarray) -> np.ndarray:
    """float32 [row]: the probability of class ``ids[row]``, given ``states`` [row, width]."""
    wanted = torch.from_numpy(np.asarray(ids, np.int64))
    found, start = [np.zeros(0, np.float32)], 0
    for block in blocks(head, states):
        its = wanted[start : start + len(block), None].to(block.device)
        found.append(block.float().log_softmax(-1).gather(1, its)[:, 0].exp().cpu().numpy())
        start += len(block)
    return np.concatenate(found)


def candidates_of(ids: torch.Tensor, values: torch.Tensor, logsumexp: torch.Tensor) -> Candidates:
    """Of equal classes the smaller id comes first, as for argmax."""
    classes, logits = ids.cpu().numpy().astype(np.int32), values.cpu().numpy()
    order = np.lexsort((classes, -logits))
    return Candidates(
        np.take_along_axis(classes, order, -1), np.take_along_axis(logits, order, -1), logsumexp.cpu().numpy()
    )


def on_host(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """Copies on the host, for which it waits once: a device copies in order, so the last one is the last."""
    *others, last = tensors
    return [*(tensor.to("cpu", non_blocking=True) for tensor in others), last.cpu()]


def joined(first: Candidates, second: Candidates) -> Candidates:
    pairs = ((getattr(first, name), getattr(second, name)) for name in ("ids", "logits", "logsumexp"))
    return Candidates(*map(np.concatenate, pairs))
