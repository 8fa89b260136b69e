"""Carrying out a plan on live objects, all of it or nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, Self

from padfix.errors import PadfixError, StrategyError
from padfix.read.live import text_tokenizer, unwrap
from padfix.read.live_tokenizer import count_tokens
from padfix.read.vocabulary import vocabulary
from padfix.types import ABSENT, Edit, Plan, Token
from padfix.write.embeddings import Fingerprint, grow, overwrite_row
from padfix.write.journal import Journal
from padfix.write.survey import Growth, Rows, configs_of, survey
from padfix.write.tokenizer import Snapshot, refuse_if_edited, set_pad, set_processor_pad
from padfix.write.twin import process_state


class Transaction:
    """One write to a tokenizer (or processor) and a model (or None).

    `apply` carries out a plan; whatever is raised on the way, ``KeyboardInterrupt`` and ``MemoryError``
    included, everything is put back first: tokenizer, weights (bitwise), configs, module attributes.
    `rollback` does so on request, `commit` ends the transaction and returns the function that undoes it
    later. As a context manager it rolls back whatever was not committed.
    """

    def __init__(self, model: Any, tok: Any) -> None:
        self._tok = tok
        self._tokenizer = text_tokenizer(tok)
        self._model: Any = None
        self._wrappers: tuple[str, ...] = ()
        if model is not None:
            self._model, self._wrappers = unwrap(model)
        self._journal = Journal()
        self._marks: list[Fingerprint] = []
        self._snapshot: Snapshot | None = None
        self._pad: Token | None = None
        self._process: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.rollback()

    def apply(self, plan: Plan) -> None:
        """Carry out every edit of the plan.

        Raises `StrategyError` when the plan does not fit the objects (it was made for another state) or
        when they cannot be changed safely; nothing is changed then.
        """
        self._process = process_state()
        try:
            self._apply(plan)
        except BaseException:
            self.rollback()
            raise

    def rollback(self) -> None:
        """Put everything back as it was before `apply`; without effect after `commit` or a rollback."""
        try:
            self._journal.roll_back()
        finally:
            if self._process is not None and not self._journal:
                self._process()
                self._process = None
        self._marks.clear()
        self._snapshot = None

    def commit(self) -> Callable[[], None]:
        """Keep the changes. The function returned undoes them once.

        It truncates grown matrices, restores overwritten rows, and sets back the config keys and tokenizer
        attributes that were changed, leaving alone what was not. It raises `PadfixError`, having changed
        nothing, when called twice or when the weights or the tokenizer were changed since.
        """
        self._process = None
        journal, self._journal = self._journal, Journal()
        marks, self._marks = tuple(self._marks), []
        snapshot, self._snapshot = self._snapshot, None
        tokenizer, model, pad = self._tokenizer, self._model, self._pad
        names = snapshot.changed() if snapshot is not None else ()
        put_back = snapshot.undo_of(names) if snapshot is not None else None
        count = count_tokens(tokenizer)
        anything, begun = bool(journal), False

        def undo() -> None:
            nonlocal begun
            if anything and not journal:
                raise PadfixError("cannot undo: it was undone already")
            if not begun:  # one that was interrupted goes on where it was
                if put_back is not None and pad is not None:
                    refuse_if_edited(tokenizer, count, pad)
                _refuse_trained(model, marks)
            begun = True
            journal.roll_back()

        if put_back is not None:
            # the whole snapshot served the rollback; an undo leaves later changes to other attributes alone
            journal.replace("tokenizer", put_back)
        return undo

    def _apply(self, plan: Plan) -> None:
        edits = {(e.target, e.key): e for e in plan.edits}
        if self._model is None and any(e.target != "tokenizer" for e in plan.edits):
            raise StrategyError("the plan changes a model, and there is none here; make a new plan")
        growth = self._survey(edits, plan)
        self._edit_tokenizer(edits)
        for edit in plan.edits:
            if edit.target == "generation_config" or edit.target.split(".")[0] == "config":
                self._edit_config(edit)
        if growth is not None:
            self._marks += grow(growth, self._journal)
            planned = {(id(self._config(e.target)), e.key) for e in plan.edits if e.key == "vocab_size"}
            for config, key, value in growth.configs:
                if (id(config), key) not in planned:
                    self._set_config(config, key, value)
        if row := edits.get(("weights", "pad_row")):
            self._overwrite_pad_row(row, plan.pad)
        if idx := edits.get(("model", "padding_idx")):
            self._move_padding_idx(idx)
        self._check_reach(plan)

    # --- weights ---

    def _survey(self, edits: dict[tuple[str, str], Edit], plan: Plan) -> Growth | None:
        wanted = {
            key: edits[("weights", key)]
            for key in ("input_rows", "output_rows", "output_bias_rows")
            if ("weights", key) in edits
        }
        if not wanted:
            return None
        found = vocabulary(self._model)
        for key, edit in wanted.items():
            now = getattr(found, key)
            if now != edit.before:
                raise StrategyError(
                    f"the plan was made for {edit.before} {key.replace('_', ' ')}, and there are {now}; make a new plan"
                )
            if edit.after < edit.before:
                raise StrategyError(
                    f"{key} would shrink from {edit.before} to {edit.after}; padfix removes no row"
                )
        rows = Rows(
            *(
                wanted[k].after if k in wanted else None
                for k in ("input_rows", "output_rows", "output_bias_rows")
            )
        )
        return survey(self._model, rows, plan.init or "mean", wrappers=self._wrappers)

    def _overwrite_pad_row(self, edit: Edit, pad: Token | None) -> None:
        found = vocabulary(self._model)
        if found.input is None or pad is None or pad.id is None:
            raise StrategyError(
                "the plan overwrites the pad's input row, and there is no pad id or no input embedding"
            )
        weight = found.input_module.weight
        self._marks.append(overwrite_row(weight, found.input.name, pad.id, edit.after, self._journal))

    def _move_padding_idx(self, edit: Edit) -> None:
        """On the input embedding, modules tied to it, and models above them that keep a copy.

        Never on anything else: RoBERTa's embeddings compute positions from an attribute of that name.
        """
        from torch import nn
        from transformers import PreTrainedModel

        found = vocabulary(self._model)
        source = found.input_module
        if found.padding_idx != edit.before:
            raise StrategyError(
                f"the plan was made for padding_idx={edit.before}, and it is {found.padding_idx}; make a new plan"
            )
        for module in self._model.modules():
            if vars(module).get("padding_idx") != edit.before or isinstance(
                vars(module).get("padding_idx"), bool
            ):
                continue
            tied = isinstance(module, nn.Embedding) and (module is source or module.weight is source.weight)
            owner = isinstance(module, PreTrainedModel) and any(child is source for child in module.modules())
            if tied or owner:
                self._journal.set_attribute(module, "padding_idx", edit.after)

    # --- tokenizer ---

    def _edit_tokenizer(self, edits: dict[tuple[str, str], Edit]) -> None:
        new, pad = edits.get(("tokenizer", "added_token")), edits.get(("tokenizer", "pad_token"))
        if new is None and pad is None:
            return
        token = pad.after if pad is not None else new.after if new is not None else None
        if not isinstance(token, Token) or (new is not None and new.after != token):
            raise StrategyError(
                f"the plan adds {new.after if new else None} and sets {token} as pad; padfix adds a token only as pad"
            )
        before = pad.before if pad is not None else None
        snapshot = self._snapshot = Snapshot(self._tokenizer)
        self._pad = token
        self._journal.record("tokenizer", snapshot.restore)
        set_pad(self._tokenizer, token, new is not None, self._journal)
        set_processor_pad(self._tok, self._tokenizer, before, token, self._journal)

    # --- configs ---

    def _edit_config(self, edit: Edit) -> None:
        target = self._config(edit.target)
        before = _read(target, edit.key)
        self._set_config(target, edit.key, edit.after)
        if (found := _read(target, edit.key)) != edit.after:
            raise StrategyError(
                f"{edit.target}.{edit.key} cannot be set to {edit.after}: {type(target).__name__} answers {found!r}"
            )
        if edit.key == "pad_token_id" and edit.target != "generation_config":
            self._edit_mirrors(target, None if before is ABSENT else before, edit.after)

    def _set_config(self, config: Any, key: str, value: int | None) -> None:
        """On the config and on copies of it that submodules hold, else a reload would differ from what runs."""
        for one in (config, *self._copies(config, key)):
            self._journal_config(one, key)
            try:
                setattr(one, key, value)
            except Exception as error:  # a strict config of transformers 5 raises an error type of its own
                held = "null" if value is None else repr(value)
                raise StrategyError(
                    f"{type(one).__name__}.{key} cannot hold {held}: {error}. Use a pad of its own: strategy='add'"
                ) from error

    def _config(self, target: str) -> Any:
        config = self._model
        for name in ("generation_config" if target == "generation_config" else target).split("."):
            config = getattr(config, name, None)
            if config is None:
                raise StrategyError(
                    f"the plan edits {target}, and {type(self._model).__name__} has none; make a new plan"
                )
        return config

    def _copies(self, config: Any, key: str) -> tuple[Any, ...]:
        own = list(_within(self._model.config))
        if all(config is not c for c in own):
            return ()
        facts = _facts(config, key)
        if any(c is not config and type(c) is type(config) and _facts(c, key) == facts for c in own):
            return ()  # two parts of the model look alike: it is not known whose copy another one is
        return tuple(
            other
            for other in configs_of(self._model)
            if type(other) is type(config)
            and all(other is not c for c in own)
            and _facts(other, key) == facts
        )

    def _journal_config(self, config: Any, key: str) -> None:
        """Record a key of a config, and of those nested in it: some classes hand a key on (T5Gemma's vocab_size)."""
        for one in _within(config):
            real = (getattr(one, "attribute_map", None) or {}).get(key, key)
            if isinstance(getattr(type(one), real, None), property):
                self._journal.record(key, functools.partial(_put_back, one, key, getattr(one, key)))
            elif real in (own := vars(one)):
                self._journal.record(key, functools.partial(own.__setitem__, real, own[real]))
            else:
                self._journal.record(key, functools.partial(own.pop, real, None))

    def _edit_mirrors(self, config: Any, before: Any, after: int | None) -> None:
        """Models that copied the id out of their config when they were built (Reformer, Llama 4)."""
        from transformers import PreTrainedModel

        for module in self._model.modules():
            if (
                not isinstance(module, PreTrainedModel)
                or module.config is not config
                or "pad_token_id" not in vars(module)
            ):
                continue
            now = vars(module)["pad_token_id"]
            if now == before and not isinstance(now, bool):
                self._journal.set_attribute(module, "pad_token_id", after)

    def _check_reach(self, plan: Plan) -> None:
        if self._model is None or plan.pad is None or plan.pad.id is None:
            return
        found = vocabulary(self._model)
        if found.input is None and any(e.key == "added_token" for e in plan.edits):
            raise StrategyError(
                f"{type(self._model).__name__} does not say which matrix its token ids index, so no token can be added; "
                "use 'auto', 'reserved', 'unk' or 'eos'"
            )
        if found.input is not None and found.input.rows <= plan.pad.id:
            raise StrategyError(
                f"the pad's id {plan.pad.id} is not below the {found.input.rows} rows of {found.input.name}; make a new plan"
            )


def _put_back(config: Any, key: str, value: Any) -> None:
    """Through a property, which may have no setter: then nothing was changed either."""
    if getattr(config, key) != value:
        setattr(config, key, value)


def _within(config: Any) -> Iterator[Any]:
    from transformers import PretrainedConfig

    yield config
    for value in vars(config).values():
        if isinstance(value, PretrainedConfig):
            yield from _within(value)


def _facts(config: Any, key: str) -> tuple[Any, ...]:
    """Enough of a config to tell a copy of it from the config of another part of the model."""
    names = (key, "model_type", "vocab_size", "hidden_size", "num_hidden_layers", "pad_token_id")
    return tuple(_read(config, name) for name in names)


def _read(config: Any, key: str) -> Any:
    try:
        return getattr(config, key, ABSENT)
    except (ValueError, KeyError):  # a per-layer config of transformers 5 without one value for all layers
        return ABSENT


def _refuse_trained(model: Any, marks: tuple[Fingerprint, ...]) -> None:
    if marks and (getattr(model, "peft_config", None) or getattr(model, "_hf_peft_config_loaded", False)):
        raise PadfixError(
            "cannot undo: an adapter was wrapped around the model since; load the model again instead"
        )
    changed = [text for mark in marks if (text := mark.changed()) is not None]
    if changed:
        raise PadfixError(
            f"cannot undo: the weights were trained or replaced since ({'; '.join(changed)}). "
            "Load the original checkpoint again instead"
        )
