"""Damaged repositories give a state or a `SourceError`: never another exception, never a hang.

``make fuzz`` runs 200,000 of them (``PADFIX_FUZZ`` changes the number), the suite a few thousand.
"""

from __future__ import annotations

import json
import os
import random
import resource
import time

import pytest
from fuzzing import MemorySource, damage, repositories
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from padfix.errors import SourceError
from padfix.read.repo import read_repo

SECONDS = 5.0  # for one damaged repository of a few kB; a second under load is a busy machine


def attempt(files: dict[str, bytes], seed: int) -> str:
    """Read once; the outcome, or an assertion that names the seed."""
    started = time.monotonic()
    try:
        state = read_repo(MemorySource(files), major="45"[seed % 2])
    except SourceError as error:
        assert str(error), f"seed {seed}: a refusal without a reason"
        outcome = "refused"
    except Exception as error:
        raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    else:
        json.dumps(state.to_dict())
        outcome = "read"
    assert time.monotonic() - started < SECONDS, f"seed {seed}: {time.monotonic() - started:.1f} s"
    return outcome


def sweep(count: int, first: int) -> dict[str, int]:
    """Damage and read ``count`` repositories, each named by its seed."""
    sound = list(repositories().values())
    outcomes = {"read": 0, "refused": 0}
    for seed in range(first, first + count):
        rng = random.Random(seed)
        outcomes[attempt(damage(rng.choice(sound), rng), seed)] += 1
    return outcomes


@pytest.mark.parametrize("name", sorted(repositories()))
def test_the_sound_repositories_are_read(name: str) -> None:
    """Before they are damaged, all of them are read under one major at least."""
    found = []
    for major in ("4", "5"):
        try:
            found.append(read_repo(MemorySource(repositories()[name]), major=major))
        except SourceError as error:
            assert major == "4" or name == "phobert", error
    assert found


def test_three_thousand_damaged_repositories() -> None:
    """Both outcomes occur, so the damage is neither too little nor too much."""
    outcomes = sweep(3000, 0)
    assert outcomes["read"] > 300
    assert outcomes["refused"] > 300


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(repositories())), st.data())
def test_any_bytes_in_any_file(name: str, data: st.DataObject) -> None:
    """Hypothesis chooses the file and its bytes."""
    files = dict(repositories()[name])
    victim = data.draw(st.sampled_from(sorted(files)))
    files[victim] = data.draw(st.one_of(st.binary(max_size=400), st.text(max_size=200).map(str.encode)))
    attempt(files, 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["config.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.json"]),
    st.data(),
)
def test_any_json_value_under_any_key(name: str, data: st.DataObject) -> None:
    """Hypothesis chooses a key that the file has and a value for it."""
    files = dict(repositories()["BPE"])
    content = json.loads(files[name])
    content[data.draw(st.sampled_from(sorted(content)))] = data.draw(JSON)
    files[name] = json.dumps(content).encode()
    attempt(files, data.draw(st.integers(0, 13)))


@pytest.mark.slow
def test_two_hundred_thousand_damaged_repositories() -> None:
    """The long run: memory does not grow either."""
    count = int(os.environ.get("PADFIX_FUZZ", "200000"))
    sweep(2000, 10_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = sweep(count, 0)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(outcomes.values()) == count
    assert after - before < 200 * 1024, f"{(after - before) / 1024:.0f} MiB more than after 2,000"
