"""Golden weight vectors: the bytes every validator must get (DOMAIN 5).

``weights.json`` was worked out from DOMAIN 5 by hand and exact fractions, not by the rules under
test. A change of any line in it is a change of what validators submit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ledger import policies
from ledger.policy import Policy, parse_policy_toml
from ledger.rules.weights import Throne, compute_vector

GOLDEN: dict[str, Any] = json.loads(
    Path(__file__).with_name("weights.json").read_text(encoding="utf-8")
)


def policy_of(name: str) -> Policy:
    inline = GOLDEN["policies"].get(name)
    return parse_policy_toml(policies.load(name) if inline is None else inline)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_vector_is_the_golden_one(case: dict[str, Any]) -> None:
    vector = compute_vector(
        case["block"],
        policy_of(case["policy"]),
        {name: Throne(track=name, **throne) for name, throne in case["thrones"].items()},
        case["uid_of"],
        burn_uid=case["burn_uid"],
        emission_paused=case["emission_paused"],
    )
    expected = case["expected"]
    assert [list(share) for share in vector.shares] == expected["shares"]
    assert list(vector.uids) == expected["uids"]
    assert list(vector.values) == expected["values"]
    assert vector.digest == expected["digest"]
    assert vector.block == case["block"]
