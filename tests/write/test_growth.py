"""Growing vocabulary matrices in place: every old bit kept, new rows exactly as asked, or a refusal."""

from __future__ import annotations

from typing import Any

import pytest
from live_facts import differences, model_facts, tokenizer_facts

from padfix.errors import StrategyError
from padfix.read.vocabulary import vocabulary
from padfix.testing import CannotBuildError, tiny_model, tiny_tokenizer
from padfix.types import Edit, Plan, Token
from padfix.write.live import Transaction
from padfix.write.twin import all_tensors

ARCHITECTURES = [
    ("gpt2", "causal"), ("llama", "causal"), ("phi", "causal"), ("opt", "causal"), ("bloom", "causal"), ("mpt", "causal"),
    ("falcon", "causal"), ("gemma", "causal"), ("gpt_neox", "causal"), ("qwen2", "causal"), ("xlnet", "causal"),
    ("marian", "causal"), ("reformer", "causal"), ("bert", "masked"), ("albert", "masked"), ("mobilebert", "masked"),
    ("xlm", "masked"), ("esm", "masked"), ("roberta", "masked"), ("bart", "seq2seq"), ("t5", "seq2seq"), ("marian", "seq2seq"),
    ("led", "seq2seq"), ("llama", "classifier"), ("bart", "classifier"),
]  # fmt: skip


def added(model: Any, init: Any = "mean", by: int = 1, count: int | None = None) -> tuple[Any, Plan]:
    """A tokenizer that fills the model's rows, and a plan that adds a pad and grows what needs it by hand."""
    found = vocabulary(model)
    new = count if count is not None else max(m.rows for m in found.matrices if m.role != "other")
    pad = Token("[PAD]", new)
    rows = {k: getattr(found, k) for k in ("input_rows", "output_rows", "output_bias_rows")}
    grown = tuple(Edit("weights", k, n, new + by) for k, n in rows.items() if n is not None and n <= new)
    edits = (Edit("tokenizer", "added_token", None, pad), *grown, Edit("tokenizer", "pad_token", None, pad))
    return tiny_tokenizer(vocab_size=new), Plan("add", "add", pad, edits, init=init)


def apply(model: Any, **options: Any) -> Transaction:
    """Grow, and leave the transaction open."""
    tok, wanted = added(model, **options)
    transaction = Transaction(model, tok)
    transaction.apply(wanted)
    return transaction


@pytest.mark.parametrize(("model_type", "head"), ARCHITECTURES)
@pytest.mark.parametrize(("init", "rows"), [("mean", 3), ("zero", 1)])
def test_old_rows_keep_every_bit_and_new_rows_are_exactly_as_asked(
    model_type: str, head: Any, init: str, rows: int
) -> None:
    """Law 4, for every tensor that grows: biases and per-model tables too; and nothing else changes its shape."""
    import torch

    options = {"embedding_size": 16} if model_type == "mobilebert" else {}  # else a part of its head is empty
    model = tiny_model(model_type, head, **options)
    before = {name: (tensor, tensor.detach().clone()) for name, tensor in all_tensors(model)}
    modules = {name: id(module) for name, module in model.named_modules(remove_duplicate=False)}
    tied = vocabulary(model).tied
    transaction = apply(model, init=init, by=rows)
    grown = 0
    for name, tensor in all_tensors(model):
        same, old = before[name]
        assert tensor is same, f"{name} is another object: an optimiser would not see it"
        if tensor.shape == old.shape:
            assert torch.equal(tensor, old), name
            continue
        (dim,) = (d for d, n in enumerate(tensor.shape) if n != old.shape[d])
        assert tensor.shape[dim] == old.shape[dim] + rows, name
        assert torch.equal(tensor.detach().narrow(dim, 0, old.shape[dim]), old), name
        new = tensor.detach().narrow(dim, old.shape[dim], rows)
        mean = old.double().mean(dim, keepdim=True).to(old.dtype).expand_as(new)
        if init == "zero" and name == vocabulary(model).input.name:  # type: ignore[union-attr]
            assert not new.any(), name
        elif init == "mean":
            torch.testing.assert_close(new, mean, rtol=1e-5, atol=1e-8, msg=name)
        else:
            assert not new.any() or torch.allclose(new, mean, rtol=1e-5, atol=1e-8), name
        grown += 1
    assert grown
    assert modules == {name: id(module) for name, module in model.named_modules(remove_duplicate=False)}
    assert vocabulary(model).tied is tied
    undo = transaction.commit()
    undo()
    assert all(torch.equal(tensor, before[name][1]) for name, tensor in all_tensors(model))


@pytest.mark.parametrize(
    ("model_type", "head"), [("llama", "causal"), ("gpt2", "causal"), ("bart", "seq2seq"), ("t5", "seq2seq")]
)
def test_the_grown_model_saves_and_loads(model_type: str, head: Any, tmp_path: Any) -> None:
    """The config is in step with the matrices: what was saved loads without a mismatch, to the same bits."""
    import torch

    model = tiny_model(model_type, head)
    apply(model).commit()
    model.save_pretrained(tmp_path)
    again, report = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["mismatched_keys"]
    state = again.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_an_untied_head_gets_the_mean_even_for_zero() -> None:
    """A head row of zeros gives logit 0, which beats every token of a model whose logits are negative."""
    import torch

    model = tiny_model("llama", tied=False)
    head = model.lm_head.weight.detach().clone()
    apply(model, init="zero")
    assert not model.model.embed_tokens.weight[131].any()
    torch.testing.assert_close(model.lm_head.weight[131].detach(), head.mean(0), rtol=1e-5, atol=1e-8)


def test_the_new_token_is_never_likelier_than_uniform() -> None:
    """With mean rows and a mean bias, p(pad) <= 1/(V+1) in every context, also where every bias is about -4.5."""
    import torch

    model = tiny_model("phi")
    with torch.no_grad():
        model.lm_head.bias.normal_(-4.5, 0.1, generator=torch.Generator().manual_seed(0))
        model.lm_head.weight.mul_(20)
    apply(model)
    assert abs(model.lm_head.bias[131].item() + 4.5) < 0.1
    ids = torch.randint(0, 131, (4, 16), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        likely = model(ids).logits.softmax(-1)[..., 131].max()
    assert float(likely) <= 1 / 132 + 1e-7


def test_a_larger_input_matrix_is_never_cut_to_the_head() -> None:
    """Mllama: transformers' own resize makes both matrices equal and drops 7 rows of the input."""
    import torch

    try:
        model = tiny_model("mllama")
    except CannotBuildError as error:
        pytest.skip(str(error))
    old = model.model.embed_tokens.weight.detach().clone()
    found = vocabulary(model)
    high, low = found.input_rows, found.output_rows
    assert high is not None and low is not None and high == low + 8
    pad = Token("[PAD]", low)
    tok = tiny_tokenizer(vocab_size=low)
    edits = (
        Edit("tokenizer", "added_token", None, pad),
        Edit("weights", "input_rows", high, high + 1),
        Edit("weights", "output_rows", low, low + 1),
        Edit("tokenizer", "pad_token", None, pad),
    )
    transaction = Transaction(model, tok)
    transaction.apply(Plan("add", "add", pad, edits, init="mean"))
    assert model.model.embed_tokens.weight.shape[0] == high + 1
    assert model.lm_head.weight.shape[0] == low + 1
    assert torch.equal(model.model.embed_tokens.weight[:high], old)
    assert model.config.get_text_config().vocab_size == low + 1


def test_growth_that_could_not_be_loaded_again_is_refused() -> None:
    """Mllama is built with vocab_size + 8 input rows: growing the head alone would save a model that does not load."""
    try:
        model = tiny_model("mllama")
    except CannotBuildError as error:
        pytest.skip(str(error))
    low = vocabulary(model).output_rows
    assert low is not None
    before = model_facts(model)
    with pytest.raises(StrategyError, match=r"embed_tokens.*could not be loaded again"):
        apply(model, count=low)
    assert not differences(before, model_facts(model))


@pytest.mark.parametrize(
    ("model_type", "head", "named"),
    [
        ("deepseek_v4", "causal", "tid2eid"),
        ("blt", "causal", "patcher"),
        ("ibert", "masked", "resize_token_embeddings"),
        ("t5gemma", "classifier", "decoder"),
    ],
)
def test_what_cannot_be_grown_completely_is_refused_by_name(model_type: str, head: Any, named: str) -> None:
    """A table left at the old rows would be read out of range by the new id; nothing is changed."""
    try:
        model = tiny_model(model_type, head)
    except (CannotBuildError, KeyError) as error:
        pytest.skip(f"{model_type} is not to be had here: {error}")
    tok, wanted = added(model)
    before = {**model_facts(model), **tokenizer_facts(tok)}
    with pytest.raises(StrategyError, match=named):
        Transaction(model, tok).apply(wanted)
    assert not differences(before, {**model_facts(model), **tokenizer_facts(tok)})


@pytest.mark.parametrize(
    ("model_type", "head"),
    [
        ("fsmt", "seq2seq"),
        ("gemma3n_text", "causal"),
        ("t5gemma", "seq2seq"),
        ("marian", "causal"),
        ("neomme", "masked"),
    ],
)
def test_growth_is_complete_or_refused(model_type: str, head: Any, tmp_path: Any) -> None:
    """Where the two transformers majors differ: the new id works in every input and after a reload, or no growth."""
    import torch

    try:
        model = tiny_model(model_type, head)
    except (CannotBuildError, KeyError) as error:
        pytest.skip(f"{model_type} is not to be had here: {error}")
    ids = {"input_ids": torch.tensor([[5, 9, 7]])}
    if head == "seq2seq":
        ids["decoder_input_ids"] = torch.tensor([[5, 9, 7]])
    try:
        with torch.no_grad():
            model(**ids)
        runs = True
    except AttributeError:  # FSMT of transformers 4.57 fails in its own decoder
        runs = False
    before = model_facts(model)
    try:
        apply(model).commit()
    except StrategyError as refusal:
        assert "indexed by token ids too" in str(refusal)
        assert not differences(before, model_facts(model))
        return
    if runs:
        with torch.no_grad():
            logits = model(**{name: torch.tensor([[5, 131, 7]]) for name in ids}).logits
        assert logits.shape[-1] == 132 and bool(logits.isfinite().all())
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, torch.nn.Linear) and weight is not None:
            assert weight.shape == (module.out_features, module.in_features)
    model.save_pretrained(tmp_path)
    _, report = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not report["mismatched_keys"]


@pytest.mark.parametrize("hidden", [131, 64])
def test_a_hidden_size_equal_to_the_vocabulary_is_not_mistaken_for_a_table(hidden: int) -> None:
    """With 131 tokens and hidden size 131 every weight has 131 rows; only those that ids index grow."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=131, n_embd=hidden, n_layer=1, n_head=1, n_positions=16)
    model = GPT2LMHeadModel(config)
    apply(model)
    changed = {name for name, tensor in all_tensors(model) if 132 in tensor.shape}
    assert changed == {"transformer.wte.weight", "lm_head.weight"}


def test_a_table_of_ones_own_is_not_left_behind() -> None:
    """A module that the user added and that ids index cannot be grown by the model: refused by name."""
    from torch import nn

    model = tiny_model("llama")
    model.model.extra = nn.Embedding(131, 4)
    with pytest.raises(StrategyError, match=r"model\.extra\.weight"):
        apply(model)


def test_hooks_and_an_optimiser_that_has_not_stepped_survive() -> None:
    """Modules and parameters keep their identity: the new row trains with the optimiser made before."""
    import torch

    model = tiny_model("llama", tied=False)
    calls: list[torch.Size] = []
    model.lm_head.register_forward_hook(lambda module, inputs, output: calls.append(output.shape))
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    apply(model).commit()
    old = model.lm_head.weight[131].detach().clone()
    ids = torch.tensor([[5, 131, 7]])
    model(input_ids=ids, labels=ids).loss.backward()
    optimiser.step()
    assert calls == [torch.Size([1, 3, 132])]
    assert not torch.equal(old, model.lm_head.weight[131])


def test_growth_under_inference_mode_still_trains() -> None:
    """Weights made under inference mode fail in the next backward pass; these are ordinary tensors."""
    import torch

    model = tiny_model("gpt2")
    with torch.inference_mode():
        apply(model).commit()
    ids = torch.tensor([[5, 131, 7]])
    model(input_ids=ids, labels=ids).loss.backward()
    assert model.transformer.wte.weight.grad.shape == (132, 32)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_dtype_flags_and_random_state_are_kept(dtype: str) -> None:
    """Growth draws no random number, and a frozen bf16 matrix stays frozen and bf16."""
    import torch

    model = tiny_model("llama", dtype=getattr(torch, dtype))
    model.model.embed_tokens.weight.requires_grad_(False)
    old = model.model.embed_tokens.weight.detach().clone()
    state = torch.get_rng_state()
    apply(model)
    assert torch.equal(state, torch.get_rng_state())
    weight = model.model.embed_tokens.weight
    assert (
        weight.dtype == getattr(torch, dtype)
        and not weight.requires_grad
        and model.lm_head.weight.requires_grad
    )
    expected = old.double().mean(0)
    assert (weight[131].double() - expected).abs().max() <= expected.abs().max() * torch.finfo(
        weight.dtype
    ).eps


def test_the_mean_is_the_same_whatever_the_number_of_threads() -> None:
    """Ranks may have different numbers of cores; their new rows must not differ in a single bit."""
    import torch

    from padfix.write.embeddings import _pass

    matrix = torch.randn(3001, 500, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    means, copies = [], []
    for threads in (1, 2, 3):
        try:
            torch.set_num_threads(threads)
            copies.append(torch.empty_like(matrix))
            means.append(_pass(matrix, copies[-1]))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(1)
    assert all(torch.equal(mean, means[0]) for mean in means)
    assert all(torch.equal(copy, matrix) for copy in copies)
    torch.testing.assert_close(means[0].double(), matrix.double().mean(0), rtol=1e-5, atol=1e-6)
    with torch.inference_mode():  # an undo may be called there
        assert torch.equal(_pass(matrix), means[0])


def test_memory_that_is_asked_for_keeps_what_it_holds() -> None:
    """Mapping pages ahead writes nothing, inside the memory or around it, wherever it begins and ends."""
    import torch

    from padfix.write.embeddings import _touch

    memory = torch.arange(3 * 2**20, dtype=torch.int32)
    for first, last in ((0, 3 * 2**20), (1, 5), (1023, 2**20 + 7), (7, 7)):
        _touch(memory[first:last])
    assert torch.equal(memory, torch.arange(3 * 2**20, dtype=torch.int32))


def test_rows_that_are_not_finite_do_not_spoil_the_mean() -> None:
    """Untrained spare rows may hold NaN; a NaN pad row would make every probability NaN."""
    import torch

    model = tiny_model("llama", tied=False)
    with torch.no_grad():
        model.lm_head.weight[7] = float("nan")
    rest = torch.cat([model.lm_head.weight[:7], model.lm_head.weight[8:]]).detach()
    apply(model)
    torch.testing.assert_close(model.lm_head.weight[131].detach(), rest.mean(0), rtol=1e-5, atol=1e-8)
    with torch.no_grad():
        model.lm_head.weight.fill_(float("inf"))
    with pytest.raises(StrategyError, match=r"lm_head.weight is not finite: 132 of 132 rows"):
        apply(model)


def _zero3(model: Any) -> None:
    import torch

    weight = model.model.embed_tokens.weight
    weight.ds_id, weight.ds_shape = 0, torch.Size([131, 32])
    weight.data = torch.empty(0)


def _int8(model: Any) -> None:
    import torch
    from torch import nn

    model.lm_head.weight = nn.Parameter(torch.zeros(131, 32, dtype=torch.int8), requires_grad=False)


def _parametrised(model: Any) -> None:
    from torch import nn
    from torch.nn.utils import parametrize

    parametrize.register_parametrization(model.lm_head, "weight", nn.Identity())


def _meta(model: Any) -> None:
    model.to("meta")


def _gradient(model: Any) -> None:
    import torch

    model(input_ids=torch.tensor([[1, 2]]), labels=torch.tensor([[1, 2]])).loss.backward()


def _offloaded(model: Any) -> None:
    accelerate = pytest.importorskip("accelerate")
    accelerate.cpu_offload(model, execution_device="cpu")


def _adapter(model: Any) -> None:
    peft = pytest.importorskip("peft")
    peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"], r=2))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_zero3, "ZeRO-3"),
        (_int8, "quantised"),
        (_parametrised, "parametris|computed"),
        (_meta, "meta device"),
        (_gradient, "before training"),
        (_offloaded, "meta device|offloaded"),
        (_adapter, "get_peft_model"),
    ],
)
def test_what_is_not_plain_memory_is_refused_with_the_recipe(spoil: Any, reason: str) -> None:
    """Quantised, sharded, offloaded, wrapped or trained: typed, with what to do instead, nothing changed."""
    import torch

    model = tiny_model("llama", tied=False)
    spoil(model)
    tok, wanted = added(model, count=131)
    shapes = {name: (id(t), tuple(t.shape)) for name, t in all_tensors(model)}
    state = tokenizer_facts(tok)
    with pytest.raises(StrategyError, match=reason):
        Transaction(model, tok).apply(wanted)
    assert shapes == {name: (id(t), tuple(t.shape)) for name, t in all_tensors(model)}
    assert not differences(state, tokenizer_facts(tok))
    assert torch.is_grad_enabled()


def test_a_wrapper_that_keeps_buffers_of_the_old_size_is_refused() -> None:
    """DDP sizes its buckets when it wraps: growth comes before."""
    from torch import nn

    model = tiny_model("llama")
    tok, wanted = added(model)
    with pytest.raises(StrategyError, match="before wrapping"):
        Transaction(nn.DataParallel(model), tok).apply(wanted)


def test_a_compiled_model_grows() -> None:
    """torch.compile's wrapper holds the model itself; nothing is compiled by growing it."""
    import torch

    model = tiny_model("llama")
    tok, wanted = added(model)
    Transaction(torch.compile(model), tok).apply(wanted)
    assert vocabulary(model).input_rows == 132


def test_a_model_of_inference_tensors_grows_and_is_put_back() -> None:
    """Loaded under inference mode, its tensors take no ordinary data back: they stay inference tensors, bit for bit."""
    import torch

    with torch.inference_mode():
        model = tiny_model("gpt2", tied=False)
    before = {name: (tensor.clone(), tensor.is_inference()) for name, tensor in model.state_dict().items()}
    assert model.lm_head.weight.is_inference()
    for end in ("rollback", "commit"):
        undo = getattr(apply(model), end)()
        if undo is not None:
            assert model.lm_head.weight.shape[0] == 132
            undo()
        after = model.state_dict()
        assert all(
            torch.equal(after[name], old) and after[name].is_inference() == kind
            for name, (old, kind) in before.items()
        )
