"""A model's weightless twin, on which its own `resize_token_embeddings` may be tried.

What a model must grow along with its embeddings (biases, buffers, per-layer tables, config keys) only its
own code knows. That code also draws random rows, computes a covariance, replaces modules and sometimes
fails half-way; on a twin of meta tensors all of that is free and touches nothing.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import logging
import random
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

_RANDOM_INIT = (
    "_init_weights",
    "_init_added_embeddings_weights_with_mean",
    "_init_added_lm_head_weights_with_mean",
    "_init_added_lm_head_bias_with_mean",
)


def resized_twin(model: Any, rows: int) -> tuple[Any, dict[int, Any]]:
    """A meta copy of ``model`` after its own ``resize_token_embeddings(rows)``, and the copies by ``id``.

    The model is not touched and no random number is drawn. Whatever the model's own code raises is raised.
    """
    from transformers import PreTrainedModel

    with quiet():
        copies: dict[int, Any] = {}
        twin = _clone(model, copies)
        for module in twin.modules():
            if isinstance(module, PreTrainedModel):
                for name in _RANDOM_INIT:
                    module.__dict__[name] = _do_nothing
        resize = twin.resize_token_embeddings
        accepted = inspect.signature(resize).parameters
        if "mean_resizing" in accepted or any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
            resize(rows, mean_resizing=False)
        else:  # I-BERT and MobileBERT take the number only
            resize(rows)
        return twin, copies


def built_with(model: Any, config: Any) -> dict[str, tuple[int, ...]]:
    """Shapes by name of the tensors that ``type(model)(config)`` has; nothing is allocated."""
    import torch

    with quiet(), torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in all_tensors(type(model)(copy.deepcopy(config)))}


def all_tensors(model: Any) -> Iterator[tuple[str, Any]]:
    """Parameters, buffers and plain tensor attributes by dotted name; tied ones under each name."""
    import torch

    for path, module in model.named_modules(remove_duplicate=False):
        dot = f"{path}." if path else ""
        for group in (module._parameters, module._buffers, module.__dict__):
            for name, value in group.items():
                if isinstance(value, torch.Tensor):
                    yield f"{dot}{name}", value


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warning, no log line, no gradient, no inference tensor, and every random state as it was."""
    import torch

    restore = process_state()
    try:
        logging.getLogger("transformers").setLevel(logging.CRITICAL)
        with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        restore()


def process_state() -> Callable[[], None]:
    """Remember what is global to the process; the function returned puts it back.

    Random states of torch, Python and numpy, grad mode, number of threads, log level, warning filters. A
    Ctrl-C can hit a ``with`` statement just before its exit runs, so a rollback restores these once more.
    """
    import torch

    log = logging.getLogger("transformers")
    numpy = sys.modules.get("numpy")
    ready = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    level, threads, grad = log.level, torch.get_num_threads(), torch.is_grad_enabled()
    filters = list(warnings.filters)
    python, on_cpu = random.getstate(), torch.get_rng_state()
    on_cuda = torch.cuda.get_rng_state_all() if ready else []
    in_numpy = numpy.random.get_state() if numpy is not None else None

    def restore() -> None:
        log.setLevel(level)
        torch.set_grad_enabled(grad)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        warnings.filters[:] = filters  # type: ignore[index]
        random.setstate(python)
        torch.set_rng_state(on_cpu)
        if on_cuda:
            torch.cuda.set_rng_state_all(on_cuda)
        if numpy is not None and in_numpy is not None:
            numpy.random.set_state(in_numpy)

    return restore


def _do_nothing(*_: object, **__: object) -> None:
    """In place of a random initialisation."""


def _clone(value: Any, copies: dict[int, Any]) -> Any:
    """Modules, configs and containers copied once each, tensors as meta tensors, all else shared.

    Not `copy.deepcopy`: users hang locks, loggers, trainers and non-leaf tensors on their modules.
    """
    import torch
    from transformers import GenerationConfig, PretrainedConfig

    if id(value) in copies:
        return copies[id(value)]
    if isinstance(value, torch.Tensor):
        new: Any = torch.empty(value.shape, dtype=value.dtype, device="meta")
        if isinstance(value, torch.nn.Parameter):
            new = torch.nn.Parameter(new, requires_grad=value.requires_grad)
        copies[id(value)] = new
        return new
    if isinstance(value, torch.nn.Module):
        new = copies[id(value)] = type(value).__new__(type(value))
        for name, item in value.__dict__.items():
            new.__dict__[name] = _clone(item, copies)
        return new
    if isinstance(value, (PretrainedConfig, GenerationConfig)):
        return copy.deepcopy(value, copies)
    if isinstance(value, types.MethodType) and isinstance(value.__self__, torch.nn.Module):
        return types.MethodType(value.__func__, _clone(value.__self__, copies))
    if isinstance(value, dict):
        new = copies[id(value)] = copy.copy(value)
        for key, item in value.items():
            new[key] = _clone(item, copies)
        return new
    if type(value) is list:
        new = copies[id(value)] = []
        new.extend(_clone(item, copies) for item in value)
        return new
    if type(value) is tuple:
        return tuple(_clone(item, copies) for item in value)
    return value
