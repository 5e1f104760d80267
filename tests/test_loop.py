"""The loop that decodes: what it says is what the library's own says, to the bit, and it seldom asks the device."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.generation.utils import DeferredStopCheck

from tam.attribution.forced import forced
from tam.errors import InputError
from tam.generation.kept import keep
from tam.manifest import Sample
from tam.model import head, loop
from tam.model.altup import joined
from tam.model.decoding import Answer, answer_batch
from tam.model.forced import forced_batch
from tam.model.head import best_of, candidates_of
from tam.model.loaded import Loaded
from tam.model.prompt import Prepared, prepare
from tam.model.question import Question
from tests import tiny
from tests.test_families import pictures

LIMIT = 20
ASKED = [((56, 84), "a cat"), ((112, 56), "Describe the image."), ((84, 84), "What?"), ((56, 56), "two dogs run")]


def asked(kind: str, count: int = 2) -> tuple[Loaded, list[Prepared]]:
    """A model and prompts of different lengths, so that all but the longest are padded."""
    loaded = tiny.loaded(kind)
    return loaded, [prepare(loaded.prompter, pictures(size), words) for size, words in ASKED[:count]]


def plainly(loaded: Loaded, prepared: list[Prepared], limit: int = LIMIT) -> list[Answer]:
    """The library's own loop, which keeps every layer's states of every step."""
    own = loaded.model.generation_config
    made = loaded.model.generate(
        **loaded.batch(prepared), max_new_tokens=limit, do_sample=False, temperature=None, top_p=None,
        top_k=None, pad_token_id=own.pad_token_id, output_hidden_states=True, output_logits=True,
        return_dict_in_generate=True,
    )  # fmt: skip
    steps = [step[-1] for step in made.hidden_states]
    if steps[0].ndim == 4:  # several streams, as the last layer leaves them
        steps = [loaded.norm(joined(loaded.decoder, step)).detach() for step in steps]
    states, logits = torch.cat(steps, dim=1), made.logits
    if getattr(loaded.config.get_text_config(), "final_logit_softcapping", None):  # bent behind the head
        logits = [loaded.head(step[:, -1]).detach() for step in steps]
    best = [torch.stack(parts, dim=1).numpy() for parts in zip(*map(best_of, logits), strict=True)]
    length = made.sequences.shape[1] - len(made.logits)
    answers = []
    for index, one in enumerate(prepared):
        ids = made.sequences[index, length:].numpy().astype(np.int32)
        stops = np.flatnonzero(np.isin(ids, loaded.ends))
        ids = ids[: stops[0] + 1] if len(stops) else ids
        its = states[index, length - len(one.tokens) : length + len(ids) - 1]
        answers.append(Answer(ids, bool(len(stops)), its, candidates_of(*(p[index, : len(ids)] for p in best)), its))
    return answers


def same(made: list[Answer], expected: list[Answer], tolerance: float = 0) -> None:
    for one, other in zip(made, expected, strict=True):
        assert one.ids.tolist() == other.ids.tolist() and one.ended == other.ended
        assert one.states.shape == other.states.shape
        assert torch.allclose(one.states, other.states, rtol=0, atol=tolerance)
        assert np.array_equal(one.candidates.ids, other.candidates.ids)
        for name in ("logits", "logsumexp"):
            assert np.allclose(getattr(one.candidates, name), getattr(other.candidates, name), rtol=0, atol=tolerance)


def ending(loaded: Loaded, prepared: list[Prepared], limit: int = LIMIT) -> list[int]:
    """Make the answers end at different places, by the ids that end them; their lengths."""
    loaded.model.generation_config.eos_token_id = None
    free = [one.ids.tolist() for one in plainly(loaded, prepared, limit)]
    loaded.model.generation_config.eos_token_id = sorted({ids[3 + 4 * place] for place, ids in enumerate(free[:-1])})
    return [len(one.ids) for one in plainly(loaded, prepared, limit)]


# ---- the same answers

# Steps of a checkpoint that has neither experts, linear attention nor a head that reads all positions.
TO_THE_BIT = {
    "gemma3", "glm4v", "idefics3", "internvl", "llava", "llava_next", "llava_onevision", "mistral3", "paligemma",
    "pixtral", "qwen2_5_vl", "qwen2_vl", "qwen3_vl", "smolvlm",
}  # fmt: skip

UNPENALISED = {"molmo2"}  # a penalty would look up tokens of the prompt for which there is no class


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_ids_states_and_candidates_are_the_librarys_own(kind):
    loaded, prepared = asked(kind)
    ending(loaded, prepared)
    same(answer_batch(loaded, prepared, LIMIT), plainly(loaded, prepared), 0 if kind in TO_THE_BIT else 1e-4)


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_samples_that_have_ended_leave_and_the_others_say_the_same(kind, monkeypatch):
    """Looked at every second step, each half of the batch that has ended leaves: in the end one sample is alone."""
    monkeypatch.setattr(loop, "LOOK", 2)
    monkeypatch.setattr(loop, "FEWEST", 1)
    loaded, prepared = asked(kind, 4)
    if kind not in UNPENALISED:
        loaded.model.generation_config.repetition_penalty = 1.2
        loaded.model.generation_config.encoder_repetition_penalty = 1.1  # which knows each sample's prompt
    lengths = ending(loaded, prepared)
    sizes = []
    handle = loaded.base.register_forward_hook(lambda module, inputs, output: sizes.append(len(output[0])))
    made = answer_batch(loaded, prepared, LIMIT)
    handle.remove()
    same(made, plainly(loaded, prepared), 1e-4)
    assert sizes == sorted(sizes, reverse=True) and sum(sizes) < 4 * max(lengths)


def test_who_stays():
    def staying(*going: int) -> list[int]:
        return loop._staying(np.array(going, bool)).tolist()

    assert staying(*[0, 1] * 8) == [*range(1, 16, 2)]  # half of sixteen
    assert staying(*[1] * 9, *[0] * 7) == [*range(16)]  # more than half
    assert staying(*[0] * 13, 1, 1, 0) == [0, 1, 2, 3, 4, 5, 13, 14]  # with some to be eight
    assert staying(*[0] * 14, 1) == [*range(15)]  # eight are more than half of fifteen


@pytest.mark.parametrize("setting", ["static", "hybrid", "offloaded", "offloaded_static", "quantized"])
def test_the_caches_that_a_checkpoint_asks_for_change_nothing(setting):
    loaded, prepared = asked("qwen2_vl")
    expected = answer_batch(loaded, prepared, LIMIT)
    loaded.model.generation_config.cache_implementation = setting
    same(answer_batch(loaded, prepared, LIMIT), expected)


def test_the_librarys_deferred_stop_changes_nothing(monkeypatch):
    """On Apple's GPUs its own loop runs a step too many, and takes it back."""
    loaded, prepared = asked("qwen2_vl")
    ending(loaded, prepared)
    expected = plainly(loaded, prepared)
    monkeypatch.setattr(DeferredStopCheck, "is_supported", staticmethod(lambda *_, **__: True))
    same(answer_batch(loaded, prepared, LIMIT), expected)


def test_no_more_than_seven_steps_are_made_behind_the_end():
    loaded, prepared = asked("qwen2_vl", 1)
    (free,) = plainly(loaded, prepared, 12)
    loaded.model.generation_config.eos_token_id = int(free.ids[9])
    passes = []
    handle = loaded.base.register_forward_hook(lambda *_: passes.append(1))
    (made,) = answer_batch(loaded, prepared, 40)
    handle.remove()
    assert len(made.ids) <= 10 and len(passes) == -(-len(made.ids) // loop.LOOK) * loop.LOOK


# ---- what a step costs

READING = {"_local_scalar_dense", "is_nonzero", "nonzero", "equal", "item", "unique2", "masked_select"}
VIEWS = {
    "view", "_unsafe_view", "slice", "select", "unsqueeze", "squeeze", "transpose", "t", "expand", "split", "alias",
    "detach", "as_strided", "permute", "unbind", "_reshape_alias", "lift_fresh", "diagonal", "chunk", "narrow",
}  # fmt: skip


class Dispatched(TorchDispatchMode):
    """Counts what is run on the device, and how often the host asks for a number."""

    def __init__(self):
        super().__init__()
        self.operations, self.reads = Counter(), 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        with self:  # in inference mode it is shown what is made of others, too
            made = function.decompose(*args, **kwargs or {})
        if made is not NotImplemented:
            return made
        name = function.overloadpacket.__name__
        self.reads += name in READING
        if name not in VIEWS | READING:
            self.operations[name] += 1
        return function(*args, **kwargs or {})


def dispatched(monkeypatch, run) -> Dispatched:
    found = Dispatched()

    def counted(way):
        def ask(tensor, *args, **named):
            found.reads += 1
            return way(tensor, *args, **named)

        return ask

    with monkeypatch.context() as patched, found:
        for name in ("cpu", "tolist", "numpy"):
            patched.setattr(torch.Tensor, name, counted(getattr(torch.Tensor, name)))
        run()
    return found


def between(monkeypatch, way, loaded: Loaded, prepared: list[Prepared], few: int, many: int) -> tuple[Counter, int]:
    """Operations and reads of the steps that a longer limit adds."""
    short, long = (dispatched(monkeypatch, lambda limit=limit: way(loaded, prepared, limit)) for limit in (few, many))
    return long.operations - short.operations, long.reads - short.reads


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_the_host_asks_the_device_when_it_looks_alone(kind, monkeypatch):
    """Also where prompts are padded, and where the checkpoint disfavours what was said.

    In a sparse layer of Gemma 3n torch's normal distribution asks, too, unless it is told not to check its arguments.
    """
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", False)
    monkeypatch.setattr(loop, "LOOK", 2)
    loaded, prepared = asked(kind)
    loaded.model.generation_config.eos_token_id = None
    if kind not in UNPENALISED:
        loaded.model.generation_config.repetition_penalty = 1.2
    _, reads = between(monkeypatch, answer_batch, loaded, prepared, 3, 5)
    assert reads == 2  # a copy to the host, which numpy then takes there


def test_the_host_asks_the_device_once_in_eight_steps(monkeypatch):
    loaded, prepared = asked("qwen2_vl")
    loaded.model.generation_config.eos_token_id = None
    reads = [between(monkeypatch, way, loaded, prepared, 9, 17)[1] for way in (answer_batch, plainly)]
    assert reads == [2, 8 * 2]


@pytest.mark.parametrize(("count", "most"), [(1, 110), (2, 131)], ids=["alone", "padded"])
def test_a_step_starts_no_more_operations_than_these(count, most, monkeypatch):
    """Of two layers; a mask for padding is 21 of them. What a release of the library adds is seen here."""
    loaded, prepared = asked("qwen2_vl", count)
    loaded.model.generation_config.eos_token_id = None
    ours, theirs = (between(monkeypatch, way, loaded, prepared, 10, 15)[0] for way in (answer_batch, plainly))
    assert ours.total() <= 5 * most and ours.total() <= theirs.total()


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_eight_pictures_of_a_size_go_through_a_layer_of_the_tower_as_one_does(kind, monkeypatch):
    """What each further one starts, 70 operations at most, is outside of the layers: where patches and tokens lie.

    Qwen2.5-Omni looks for sounds in between as well.
    """
    loaded, (one,) = asked(kind, 1)
    found = [dispatched(monkeypatch, lambda n=n: answer_batch(loaded, [one] * n, 1)) for n in (1, 8)]
    alone, eight = (made.operations for made in found)
    attending = [{name: count for name, count in made.items() if "attention" in name} for made in (alone, eight)]
    assert attending[0] == attending[1] and attending[0]
    assert (eight - alone).total() <= 7 * (80 if kind == "qwen2_5_omni_thinker" else 70)


def test_selection_asks_the_device_no_more_for_many_samples_than_for_one(monkeypatch):
    loaded, prepared = asked("qwen2_vl", 4)
    answers, samples = answer_batch(loaded, prepared, 5), [Sample(str(index), [], "") for index in range(4)]
    one, four = (
        dispatched(monkeypatch, lambda n=n: keep(loaded, samples[:n], prepared[:n], answers[:n])) for n in (1, 4)
    )
    assert one.operations == four.operations and one.reads == four.reads <= 10


@pytest.mark.parametrize("layer", [None, 1])
def test_a_batch_is_selected_as_its_samples_are(layer, monkeypatch):
    """One sample has no words at all, and the head's blocks end in the midst of samples."""
    loaded, prepared = asked("qwen2_vl", 4)
    prepared[1] = prepare(loaded.prompter, pictures((56, 56)), "")
    answers, samples = answer_batch(loaded, prepared, 5, layer), [Sample(str(index), [], "") for index in range(4)]
    alone = [keep(loaded, *([part[index]] for part in (samples, prepared, answers)))[0] for index in range(4)]
    monkeypatch.setattr(head, "BLOCK_BYTES", 7 * loaded.config.get_text_config().vocab_size * 4)
    for one, other in zip(keep(loaded, samples, prepared, answers), alone, strict=True):
        assert one.classes.tolist() == other.classes.tolist() and one.tokens.tolist() == other.tokens.tolist()
        assert np.allclose(one.logits, other.logits, atol=1e-4)
        assert np.array_equal(one.candidates.ids, other.candidates.ids)
        assert np.allclose(one.candidates.logsumexp, other.candidates.logsumexp, atol=1e-4)


def test_of_equal_classes_the_smaller_id_is_the_likeliest():
    ids, values = torch.tensor([[9, 4, 2], [3, 1, 0]]), torch.tensor([[5.0, 5, 1], [2, 1, 0]])
    assert head.likeliest(ids, values).tolist() == [4, 3]
    assert head.likeliest(ids, values * torch.nan).tolist() == [2, 0]
    assert candidates_of(ids.numpy(), values.numpy(), np.zeros(2)).ids[:, 0].tolist() == [4, 3]


# ---- on a GPU


def test_cudnns_attention_is_off_while_the_model_runs_and_afterwards_as_before(monkeypatch):
    """Its plans are of one length of the keys: a plan would be made at each step. The tower's is put back as well."""
    loaded, prepared = asked("qwen2_vl")
    configs = [module.config for module in loaded.base.modules() if hasattr(module, "config")]
    own = [config._attn_implementation for config in configs]
    seen = []
    handle = loaded.base.register_forward_hook(lambda *_: seen.append(torch.backends.cuda.cudnn_sdp_enabled()))
    for before in (True, False):
        torch.backends.cuda.enable_cudnn_sdp(before)
        answer_batch(loaded, prepared, 3)
        forced_batch(loaded, prepared, [np.array([5, 6], np.int32)] * 2)
        forced(loaded, Question(prepared[0], np.array([5, 6], np.int32)))
        with pytest.raises(InputError, match="no such layer"):
            answer_batch(loaded, prepared, 3, layer=99)
        assert torch.backends.cuda.cudnn_sdp_enabled() is before
        assert [config._attn_implementation for config in configs] == own
    handle.remove()
    torch.backends.cuda.enable_cudnn_sdp(True)
    assert seen == [False] * 10
