"""Prompts come from the block hash alone, the same for ever, and no two are equal."""

from __future__ import annotations

import hashlib

import pytest

from evaluation.plan import PlanError
from evaluation.prompts import MAX_REPEAT_ROUNDS, PromptSet, prompts_for
from evaluation.reference import tokenizer
from ledger.contest_policy import ContestPolicy
from ledger.rules.seed import seed_from_block_hash

BLOCK_HASH = "0x" + "ab" * 32
GOLDEN = "sha256:b27a33c4a1e8b7a855bf3d25f431d9f15ac0183526b68158249fda78c43403bf"
POLICY = ContestPolicy(
    prompts=5, warmup_prompts=1, repeated_prompts=2, context_tokens=416, output_tokens=20
)


def prompts(policy: ContestPolicy = POLICY, block_hash: str = BLOCK_HASH) -> PromptSet:
    return prompts_for(seed_from_block_hash(block_hash), policy, tokenizer)


def test_the_seed_is_the_first_eight_bytes_of_the_hash_of_the_raw_block_hash() -> None:
    digest = hashlib.sha256(b"\xab" * 32).hexdigest()
    assert seed_from_block_hash(BLOCK_HASH) == int(digest[:16], 16)


@pytest.mark.parametrize("block_hash", ["ab" * 32, "0x" + "AB" * 32, "0x" + "ab" * 31, ""])
def test_only_a_block_hash_gives_a_seed(block_hash: str) -> None:
    with pytest.raises(ValueError, match="64 lower-case hex"):
        seed_from_block_hash(block_hash)


def test_the_prompts_of_a_block_never_change() -> None:
    assert prompts().digest == GOLDEN
    assert prompts() == prompts()


def test_another_block_asks_something_else() -> None:
    other = prompts(block_hash="0x" + "cd" * 32)
    assert not set(other.scored) & set(prompts().scored)


@pytest.mark.parametrize("policy", [POLICY, ContestPolicy(), ContestPolicy(context_tokens=64)])
def test_all_prompts_differ_in_a_tail_and_are_exactly_as_long_as_asked(
    policy: ContestPolicy,
) -> None:
    found = prompts(policy)
    everything = [*found.warmup, *found.scored, *found.controls]
    assert len(found.warmup) == policy.warmup_prompts
    assert len(found.scored) == policy.prompts
    assert len(found.repeated) == policy.repeated_prompts
    assert len(found.controls) == MAX_REPEAT_ROUNDS * policy.repeated_prompts
    assert len(set(found.repeated)) == len(found.repeated)
    assert len(set(everything)) == len(everything)
    shared = policy.context_tokens // 2
    for prompt in everything:
        ids = tokenizer.chat_prompt([{"role": "user", "content": prompt}])
        assert len(ids) == policy.context_tokens
        assert prompt[:shared] == everything[0][:shared] or policy.context_tokens < 100


def test_no_more_prompts_are_repeated_than_there_are() -> None:
    found = prompts(ContestPolicy(prompts=2, repeated_prompts=9, context_tokens=416))
    assert sorted(found.repeated) == [0, 1]


def test_a_context_without_room_for_a_prompt_is_refused() -> None:
    with pytest.raises(PlanError, match="context_tokens is 16"):
        prompts(ContestPolicy(context_tokens=16))
