"""Keep of an answer what the maps need: the logits of the classes that occur, at the positions that are read."""

import numpy as np
import torch

from tam.cache import OK, TRUNCATED, Generation
from tam.errors import NotFiniteError
from tam.families.pieces import piece_of
from tam.families.prompt import Prepared
from tam.generation.answer import Answer, end_ids
from tam.generation.head import best_rows, blocks, joined
from tam.manifest import Sample


@torch.inference_mode()
def select(model, processor, sample: Sample, prepared: Prepared, answer: Answer) -> Generation:
    """Keep of an answer what the maps need.

    Raises:
        NotFiniteError: the model's logits are NaN or infinite.
    """
    layout, tokenizer, head = prepared.layout, processor.tokenizer, model.get_output_embeddings()
    tokens = np.concatenate([prepared.tokens, answer.ids]).astype(np.int32)
    candidates = answer.candidates
    if len(layout.prompt):
        candidates = joined(best_rows(head, answer.states[layout.prompt]), candidates)
    likely = candidates.ids[: min(1, len(layout.prompt)), 0]
    last = tokens[layout.answer - 1 : layout.answer]
    classes = np.unique(np.concatenate([tokens[layout.prompt], answer.ids, last, likely]))
    rows = np.concatenate([layout.vision, layout.prompt, np.arange(layout.answer - 1, len(tokens) - 1)])
    wanted = torch.from_numpy(classes.astype(np.int64))
    logits = torch.cat([block[:, wanted.to(block.device)] for block in blocks(head, answer.read[rows])])
    logits = logits.float().cpu().numpy()
    if not (np.isfinite(logits).all() and np.isfinite(candidates.logsumexp).all()):
        raise NotFiniteError("logits are NaN or infinite", where=sample.id, cure="try another dtype, such as float32")
    retokenised = [_retokenised(tokenizer, ids) for ids in (tokens[layout.prompt], answer.ids)]
    occurring = np.unique(np.concatenate([classes, candidates.ids.ravel(), *retokenised]))
    return Generation(
        id=sample.id,
        status=OK if answer.ended else TRUNCATED,
        prompt=sample.prompt,
        answer=tokenizer.decode(answer.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False),
        answer_with_special=_decoded(tokenizer, answer.ids),
        tokens=tokens,
        layout=layout,
        classes=classes.astype(np.int32),
        logits=logits,
        dtype=str(answer.states.dtype).removeprefix("torch."),
        candidates=candidates,
        retokenised_prompt=retokenised[0],
        retokenised_answer=retokenised[1],
        vocabulary={int(id): piece_of(tokenizer, id) for id in occurring},
        end_tokens=frozenset(answer.ids.tolist())
        & {*tokenizer.all_special_ids, *end_ids(model.generation_config).tolist()},
    )


def _decoded(tokenizer, ids: np.ndarray) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def _retokenised(tokenizer, ids: np.ndarray) -> np.ndarray:
    pieces = tokenizer.tokenize(_decoded(tokenizer, ids)) if len(ids) else []
    return np.array(tokenizer.convert_tokens_to_ids(pieces), np.int32)
