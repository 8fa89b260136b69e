"""A checksum per row sees every changed bit, and nothing else."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from padfix.proof.fingerprint import fingerprints, row_sums  # noqa: E402
from padfix.testing import tiny_model  # noqa: E402

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int8]
WORD = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.uint8}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(7, 32), (5, 3), (9, 1), (4,), (1, 6)], ids=str)
def test_one_flipped_last_bit_of_any_number_is_seen_in_its_row_only(
    dtype: object, shape: tuple[int, ...]
) -> None:
    """For every number of a matrix: flipping its last bit changes the sum of its row, and of no other."""
    matrix = torch.arange(1, 1 + torch.Size(shape).numel()).reshape(shape).to(dtype)
    dim = 1 if shape[0] == 1 else 0
    before = row_sums(matrix, dim)
    assert len(before) == shape[dim]
    for place in range(matrix.numel()):
        changed = matrix.clone()
        changed.view(-1).view(WORD[matrix.element_size()])[place] ^= 1
        row = place if len(shape) == 1 or dim == 1 else place // shape[1]
        assert (row_sums(changed, dim) != before).nonzero().flatten().tolist() == [row]


def test_swapped_numbers_and_negative_zero_are_changes() -> None:
    """The sum is positional and bitwise: exchanged values, and -0.0 for 0.0, are seen."""
    matrix = torch.zeros(2, 4)
    matrix[1] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    swapped = matrix[:, [1, 0, 2, 3]]
    assert (row_sums(matrix) != row_sums(swapped)).tolist() == [False, True]
    matrix[0, 3] = -0.0
    assert (row_sums(matrix) != row_sums(torch.zeros(2, 4)))[0]


def test_rows_are_summed_alike_in_any_chunking_and_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunk size and memory layout do not matter: a grown matrix keeps the sums of its old rows."""
    matrix = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    whole = row_sums(matrix)
    monkeypatch.setattr("padfix.proof.fingerprint._CHUNK", 64)
    assert torch.equal(row_sums(matrix), whole)
    assert torch.equal(row_sums(matrix.T.contiguous().T), whole)
    assert torch.equal(row_sums(torch.cat([matrix, torch.ones(3, 6)]))[:50], whole)


def test_every_vocabulary_tensor_of_a_model_is_read_and_a_tied_one_once() -> None:
    """BART has tied matrices and a buffer of shape (1, rows); all are covered."""
    marks, unread = fingerprints(tiny_model("bart", "seq2seq"))
    assert not unread
    assert "final_logits_bias" in {mark.name for mark in marks}
    sums = {id(mark.sums) for mark in marks if mark.name.endswith("weight")}
    assert len(sums) == 1


def test_weights_that_are_not_here_are_named() -> None:
    """A model on the meta device has nothing to read, and that is said, not guessed."""
    marks, unread = fingerprints(tiny_model("llama").to("meta"))
    assert not marks
    assert all("offloaded" in text for text in unread)
    assert unread
