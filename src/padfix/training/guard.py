"""Put back everything that looking at a batch may move: random state, tokenizer state, model mode."""

from __future__ import annotations

import contextlib
import copy
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

TOKENIZER_STATE: Final = ("padding_side", "truncation_side", "model_max_length", "_pad_token_type_id")


@contextlib.contextmanager
def untouched(model: Any = None, tokenizers: Sequence[Any] = ()) -> Iterator[None]:
    """Restore on exit, also after an exception: the random state of Python, numpy and torch (CPU and every
    accelerator in use), each tokenizer's sides and its backend's padding and truncation, and each module's
    training flag.

    >>> import random
    >>> state = random.getstate()
    >>> with untouched():
    ...     _ = random.random()
    >>> random.getstate() == state
    True
    """
    restore = [*_random_state(), *(_tokenizer_state(tok) for tok in tokenizers)]
    if model is not None and hasattr(model, "modules"):
        restore.append(_mode(model))
    try:
        yield
    finally:
        for put_back in restore:
            put_back()


def own_collator(collator: Any, keep: Sequence[object]) -> Any:
    """A copy of a collator, so that its generator and counters stay where they are.

    What ``keep`` names, and every tokenizer, processor or module the collator holds, is shared. A collator
    that cannot be copied is returned as it is.
    """
    shared = [*keep, *(part for part in getattr(collator, "__dict__", {}).values() if _heavy(part))]
    try:
        return copy.deepcopy(collator, {id(part): part for part in shared})
    except (TypeError, ValueError, RuntimeError, AttributeError, copy.Error):
        return collator


def _heavy(part: object) -> bool:
    names = {cls.__name__ for cls in type(part).__mro__}
    return bool(names & {"PreTrainedTokenizerBase", "ProcessorMixin", "Module", "Dataset"})


def _random_state() -> list[Callable[[], None]]:
    python = random.getstate()
    restore: list[Callable[[], None]] = [lambda: random.setstate(python)]
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        legacy = numpy.random.get_state()
        restore.append(lambda: numpy.random.set_state(legacy))
    torch = sys.modules.get("torch")
    if torch is not None:
        cpu = torch.get_rng_state()
        restore.append(lambda: torch.set_rng_state(cpu))
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            cuda = torch.cuda.get_rng_state_all()
            restore.append(lambda: torch.cuda.set_rng_state_all(cuda))
        if torch.backends.mps.is_available():
            mps = torch.mps.get_rng_state()
            restore.append(lambda: torch.mps.set_rng_state(mps))
    return restore


def _tokenizer_state(tok: Any) -> Callable[[], None]:
    saved = {name: getattr(tok, name) for name in TOKENIZER_STATE if hasattr(tok, name)}
    warned = dict(getattr(tok, "deprecation_warnings", {}))
    backend = getattr(tok, "_tokenizer", None)
    padding = getattr(backend, "padding", None)
    truncation = getattr(backend, "truncation", None)

    def put_back() -> None:
        for name, value in saved.items():
            if getattr(tok, name) != value:
                setattr(tok, name, value)
        if getattr(tok, "deprecation_warnings", warned) != warned:
            tok.deprecation_warnings = warned
        if backend is None or not hasattr(backend, "no_padding"):
            return
        if backend.padding != padding:
            backend.no_padding() if padding is None else backend.enable_padding(**padding)
        if backend.truncation != truncation:
            backend.no_truncation() if truncation is None else backend.enable_truncation(**truncation)

    return put_back


def _mode(model: Any) -> Callable[[], None]:
    modes = [(module, module.training) for module in model.modules()]

    def put_back() -> None:
        for module, training in modes:
            module.training = training

    return put_back
