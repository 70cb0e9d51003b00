"""The season's script: what everybody does on the simulated chain, block by block.

Heights are small, so the ramp of phase 3 is squeezed into 150 blocks by the demo's own policy; the
historic numbers are in the example policies and in the golden vectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from api.demo import accounts as who
from api.demo.accounts import (
    ADA,
    BEA,
    CAL,
    DOV,
    EVE,
    EXCHANGE,
    FAY,
    GUS,
    HAL,
    IDA,
    KIM,
    MINERS,
    NEW,
    OWNER_COLDKEY,
    OWNER_HOTKEY,
    STRANGER,
    TREASURY,
    VALIDATOR_COLDKEY,
    VALIDATOR_HOTKEY,
    Miner,
)
from chain.simulated import (
    Commit,
    Genesis,
    GenesisNeuron,
    Pay,
    Register,
    ScriptedExtrinsic,
    SwapColdkey,
    Transfer,
    fee_remark,
    paid_payload,
)
from ledger.units import RAO_PER_TAO

NETWORK: Final = "demo"
NETUID: Final = 14
TRACK: Final = "reference"
MODEL: Final = "cacheon-reference"

OPENS_AT: Final = 1_000
ENDS_AT: Final = 1_400
FEE_RAO: Final = 100_000_000

SECOND_POLICY_FROM: Final = 1_080
THIRD_POLICY_FROM: Final = 1_160

TRANSFER_IN_TIME: Final = "sold in time"
TRANSFER_LATE: Final = "sold, reported late"


@dataclass(frozen=True, slots=True)
class Window:
    """Blocks kept free for a round: attempts begin after ``start``, the round is over by ``end``.

    Each attempt takes one block for its seed, so that many interrupted ones fit.
    """

    name: str
    start: int
    end: int
    baseline_dies: bool = False


ROUNDS: Final = (
    Window("back-to-back kings", 1_040, 1_070),
    Window("a void round, then four cheats", 1_110, 1_140, baseline_dies=True),
    Window("a copy takes the crown", 1_230, 1_260),
    Window("the last king", 1_330, 1_360),
)

PERIODS_END: Final = (1_150, 1_300, ENDS_AT)
PAUSED_AT: Final = 1_150
RESUMED_AT: Final = 1_180
KING_LEAVES_AT: Final = 1_200
AUDIT_AT: Final = 1_290
BUYBACK_AT: Final = 1_310
CONVERSIONS: Final = (
    # (block of the transfer, label, rao sold, dollars bought in millionths, block it is reported)
    (1_090, TRANSFER_IN_TIME, 5 * RAO_PER_TAO, 1_600_000_000, 1_092),
    (1_210, TRANSFER_LATE, 3 * RAO_PER_TAO, 945_000_000, 1_380),
)

PRICES: Final = ((1_150, 318_500_000), (1_300, 316_000_000), (ENDS_AT, 322_250_000))
"""What a TAO costs in millionths of a dollar where a period ends: (block, price)."""
INVOICE_AT: Final = 1_145
"""When the provider's bill for the first round's machine arrives."""

VECTOR_BLOCKS: Final = (
    *(1_002, 1_075, 1_100, 1_142, PAUSED_AT, RESUMED_AT, 1_190, KING_LEAVES_AT),
    *(1_225, 1_265, AUDIT_AT, 1_325, 1_365, 1_390),
)
"""When the validator looks whether its weights are due."""


def genesis() -> Genesis:
    """The simulated chain's first state."""
    funded = {who.OWNER_COLDKEY: 1_000, VALIDATOR_COLDKEY: 1_000, STRANGER: 10, NEW.coldkey: 10}
    balances = {address: tao * RAO_PER_TAO for address, tao in funded.items()}
    balances |= {miner.coldkey: 10 * RAO_PER_TAO for miner in MINERS}
    balances[TREASURY] = 50 * RAO_PER_TAO
    return Genesis(
        name="cacheon demo season 1",
        netuid=NETUID,
        owner_hotkey=OWNER_HOTKEY,
        owner_coldkey=OWNER_COLDKEY,
        balances_rao=balances,
        neurons=(
            GenesisNeuron(OWNER_HOTKEY, OWNER_COLDKEY),
            GenesisNeuron(VALIDATOR_HOTKEY, VALIDATOR_COLDKEY, validator_permit=True),
            *(GenesisNeuron(miner.hotkey, miner.coldkey) for miner in MINERS),
        ),
        pool_tao_rao=20_000 * RAO_PER_TAO,
        pool_alpha=400_000 * RAO_PER_TAO,
        epoch_alpha=360 * RAO_PER_TAO,
        tempo=24,
        max_uids=32,
        weights_rate_limit_blocks=5,
        version_key=1,
        start_block=OPENS_AT,
    )


def script(digests: Mapping[str, str]) -> dict[int, list[ScriptedExtrinsic]]:
    """The script by block. ``digests`` gives each miner's image digest by the miner's name."""
    play = _Script(digests)
    _first_round(play)
    _second_round(play)
    _third_round(play)
    _fourth_round(play)
    for block, label, rao, _, _ in CONVERSIONS:
        play.at(block, Transfer(source=TREASURY, destination=EXCHANGE, rao=rao, label=label))
    return play.blocks


class _Script:
    """Collects extrinsics by block, with the two steps of an honest submission in one call."""

    def __init__(self, digests: Mapping[str, str]) -> None:
        self._digests = digests
        self.blocks: dict[int, list[ScriptedExtrinsic]] = {}

    def at(self, block: int, *extrinsics: ScriptedExtrinsic) -> None:
        self.blocks.setdefault(block, []).extend(extrinsics)

    def digest(self, miner: Miner) -> str:
        return self._digests[miner.name]

    def pay(self, block: int, miner: Miner, label: str, **wrong: object) -> None:
        self.at(block, self._payment(miner, label, **wrong))

    def _payment(self, miner: Miner, label: str, **wrong: object) -> Pay:
        fields: dict[str, object] = {
            "label": label,
            "coldkey": miner.coldkey,
            "hotkey": miner.hotkey,
            "digest": self.digest(miner),
            "treasury": TREASURY,
            "amount_rao": FEE_RAO,
        }
        return Pay(**(fields | wrong))  # type: ignore[arg-type]

    def commit(self, block: int, miner: Miner, payment: str, reveal_at: int | None = None) -> None:
        image = f"registry.demo/{miner.name}:v1"
        payload = paid_payload(image, self.digest(miner), payment)
        self.at(block, Commit(hotkey=miner.hotkey, payload=payload, reveal_at=reveal_at))

    def submit(self, block: int, miner: Miner, reveal_at: int | None = None) -> None:
        """Pay the right fee at ``block`` and commit the proof two blocks later."""
        self.pay(block, miner, f"fee of {miner.name}")
        self.commit(block + 2, miner, f"fee of {miner.name}", reveal_at)


def _first_round(play: _Script) -> None:
    for block, miner in ((1_010, ADA), (1_011, BEA), (1_012, CAL), (1_013, DOV)):
        play.submit(block, miner)
    # Refused, each for a rule of its own (DOMAIN 2).
    play.pay(1_016, EVE, "too little", amount_rao=FEE_RAO - 1)
    play.commit(1_018, EVE, "too little")
    play.pay(1_017, FAY, "a stranger's", signer=STRANGER)
    play.commit(1_019, FAY, "a stranger's")
    play.pay(1_020, GUS, "no remark", remarks=())
    play.commit(1_022, GUS, "no remark")
    two = (fee_remark(HAL.hotkey, play.digest(HAL)), fee_remark(IDA.hotkey, play.digest(IDA)))
    play.pay(1_021, HAL, "two remarks", remarks=two)
    play.commit(1_023, HAL, "two remarks")
    play.pay(1_024, IDA, "elsewhere", destination=EXCHANGE)
    play.commit(1_026, IDA, "elsewhere")
    play.commit(1_027, ADA, f"fee of {BEA.name}")  # another miner's proof
    play.at(1_028, Commit(hotkey=KIM.hotkey, payload=b'{"image": "registry.demo/kim", oops'))
    play.commit(1_029, NEW, f"fee of {ADA.name}")  # not registered: the extrinsic itself fails


def _second_round(play: _Script) -> None:
    # The coldkey is swapped between payment and commit: the owner at the payment's block counts.
    play.pay(1_084, EVE, f"fee of {EVE.name}")
    play.at(1_085, SwapColdkey(old=EVE.coldkey, new=EVE.new_coldkey))
    play.commit(1_087, EVE, f"fee of {EVE.name}")
    for block, miner in ((1_088, FAY), (1_089, GUS), (1_091, HAL)):
        play.submit(block, miner)
    play.commit(1_096, HAL, f"fee of {FAY.name}")  # a proof that served somebody else
    play.pay(1_097, ADA, "never claimed")


def _third_round(play: _Script) -> None:
    # The king's UID goes to a newcomer, between two epochs.
    play.at(
        KING_LEAVES_AT,
        Register(hotkey=NEW.hotkey, coldkey=NEW.coldkey, replacing_uid=who.uid_of(BEA)),
    )
    play.submit(1_212, IDA, reveal_at=1_222)


def _fourth_round(play: _Script) -> None:
    play.pay(1_302, KIM, f"fee of {KIM.name}", amount_rao=FEE_RAO + 50_000_000)
    play.commit(1_304, KIM, f"fee of {KIM.name}")
