"""`treasury convert | contribute | adjust | pay | destroy | price | balance`: what a person books.

Each booking has a reference of the outside, under which the same booking again changes nothing.
Amounts are decimals, read exactly, and every option names its unit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from api.cli.options import Actor, Database, Format, Netuid, Network, NewProvider, OutputFormat
from api.cli.output import show
from api.cli.session import opened, settings_of
from api.limits import MAX_BLOCK

if TYPE_CHECKING:
    from ledger.application import Ledger
    from ledger.commands.treasury import Booked
    from ledger.decisions.treasury import Asset

Reference = Annotated[
    str,
    typer.Option(
        help="What it is known by outside: an extrinsic's hash, a trade's or a transfer's number. "
        "The same booking under it again changes nothing."
    ),
]
AboutBlock = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=MAX_BLOCK,
        help="The block it is about; the extrinsic's own where the log knows that.",
    ),
]
OwnBlock = Annotated[
    int, typer.Option(min=0, max=MAX_BLOCK, help="The block it is about; may lie long back.")
]
AtBlock = Annotated[
    int, typer.Option("--at-block", min=0, max=MAX_BLOCK, help="The block it is stated of.")
]
ProviderOption = Annotated[
    str | None, typer.Option(help="The provider that the dollars lie at; for dollars only.")
]
ProviderName = Annotated[str, typer.Argument(help="The provider's name, e.g. shadeform.")]
Reason = Annotated[str, typer.Option(help="Why, in one line; it is recorded.")]
Source = Annotated[str, typer.Option(help="Who says so, e.g. 'kraken trade 4711'.")]


def register(commands: typer.Typer) -> None:
    """Add the bookings to the `treasury` commands."""
    for name, command in (
        ("convert", convert),
        ("contribute", contribute),
        ("adjust", adjust),
        ("pay", pay),
        ("destroy", destroy),
        ("price", price),
        ("balance", balance),
    ):
        commands.command(name)(command)


def convert(
    sold_tao: Annotated[str, typer.Option(help="How much TAO left the treasury, e.g. 3.")],
    for_usd: Annotated[str, typer.Option(help="How many dollars arrived, e.g. 945.")],
    usd_per_tao: Annotated[str, typer.Option(help="The price that the source states, e.g. 315.")],
    provider: Annotated[str, typer.Option(help="Where the dollars were paid in, e.g. shadeform.")],
    source: Source,
    reference: Reference,
    actor: Actor,
    about_block: AboutBlock = None,
    new_provider: NewProvider = False,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Book TAO sold for dollars at a provider; the reference is the transfer's extrinsic."""
    from ledger.commands.treasury import convert as book
    from ledger.units import rao_of, usd_micros_of

    sold, bought, stated = rao_of(sold_tao), usd_micros_of(for_usd), usd_micros_of(usd_per_tao)
    with _ledger(database, network, netuid) as ledger:
        booked = book(
            ledger,
            sold_rao=sold.value,
            bought_usd_micros=bought.value,
            usd_micros_per_tao=stated.value,
            provider=provider,
            source=source,
            reference=reference,
            about_block=about_block,
            actor=actor,
            new_provider=new_provider,
        )
    what = f"the sale of {sold} for {bought} at {provider}"
    _answer(output_format, what, booked)


def contribute(
    contributor: Annotated[str, typer.Option(help="Who gave it.")],
    reference: Reference,
    actor: Actor,
    tao: Annotated[
        str | None,
        typer.Option(help="TAO that arrived in the extrinsic --reference, which nobody claimed."),
    ] = None,
    usd: Annotated[str | None, typer.Option(help="Dollars paid in at --provider.")] = None,
    alpha: Annotated[str | None, typer.Option(help="The subnet's alpha.")] = None,
    provider: ProviderOption = None,
    about_block: AboutBlock = None,
    new_provider: NewProvider = False,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Book money that somebody gave and no fee stands for."""
    from ledger.commands.treasury import contribute as book

    asset, amount, told = _one_amount(tao, usd, alpha, may_be_below_zero=False)
    with _ledger(database, network, netuid) as ledger:
        booked = book(
            ledger,
            asset=asset,
            amount=amount,
            provider=provider,
            contributor=contributor,
            reference=reference,
            about_block=about_block,
            actor=actor,
            new_provider=new_provider,
        )
    _answer(output_format, f"the contribution of {told} by {contributor}", booked)


def adjust(
    reason: Reason,
    reference: Reference,
    about_block: OwnBlock,
    actor: Actor,
    tao: Annotated[
        str | None, typer.Option(help="TAO at the treasury's address, e.g. 0.5 or -0.5.")
    ] = None,
    usd: Annotated[str | None, typer.Option(help="Dollars at --provider, e.g. -12.34.")] = None,
    alpha: Annotated[str | None, typer.Option(help="The treasury's alpha, e.g. -1.")] = None,
    provider: ProviderOption = None,
    new_provider: NewProvider = False,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Book a correction, with its sign and its reason; of a closed period, too."""
    from ledger.commands.treasury import adjust as book

    asset, amount, told = _one_amount(tao, usd, alpha, may_be_below_zero=True)
    with _ledger(database, network, netuid) as ledger:
        booked = book(
            ledger,
            asset=asset,
            amount=amount,
            provider=provider,
            reason=reason,
            reference=reference,
            about_block=about_block,
            actor=actor,
            new_provider=new_provider,
        )
    _answer(output_format, f"the adjustment of {told}", booked)


def pay(
    provider: ProviderName,
    usd: Annotated[str, typer.Option(help="How many dollars were paid.")],
    paid_from: Annotated[
        str, typer.Option("--from", help="The account they left: where dollars were paid in.")
    ],
    reference: Reference,
    about_block: OwnBlock,
    actor: Actor,
    invoice: Annotated[str | None, typer.Option(help="The bill's number.")] = None,
    new_provider: NewProvider = False,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Book that the bill of a provider that is paid afterwards was paid."""
    from ledger.commands.treasury import pay as book
    from ledger.units import usd_micros_of

    amount = usd_micros_of(usd)
    with _ledger(database, network, netuid) as ledger:
        booked = book(
            ledger,
            provider=provider,
            paid_from=paid_from,
            usd_micros=amount.value,
            invoice=invoice,
            reference=reference,
            about_block=about_block,
            actor=actor,
            new_provider=new_provider,
        )
    _answer(output_format, f"the payment of {amount} to {provider}", booked)


def destroy(
    reason: Reason,
    reference: Reference,
    actor: Actor,
    burned_alpha: Annotated[
        str | None, typer.Option(help="Alpha that was burned, e.g. 12.5.")
    ] = None,
    recycled_alpha: Annotated[
        str | None, typer.Option(help="Alpha that was recycled, which is another thing.")
    ] = None,
    about_block: AboutBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Book the treasury's own alpha that was burned or recycled outside of a buyback."""
    from ledger.commands.treasury import destroy_alpha
    from ledger.units import alpha_of

    said = burned_alpha if burned_alpha is not None else recycled_alpha
    if said is None or None not in (burned_alpha, recycled_alpha):
        msg = "give one of --burned-alpha and --recycled-alpha"
        raise typer.BadParameter(msg)
    how: Literal["burned", "recycled"] = "recycled" if burned_alpha is None else "burned"
    with _ledger(database, network, netuid) as ledger:
        amount = alpha_of(said, ledger.arena.netuid)
        booked = destroy_alpha(
            ledger,
            how=how,
            alpha=amount.value,
            reason=reason,
            reference=reference,
            about_block=about_block,
            actor=actor,
        )
    _answer(output_format, f"{amount} that was {how}", booked)


def price(
    usd_per_tao: Annotated[str, typer.Option(help="Dollars per TAO, e.g. 315.25.")],
    source: Source,
    at_block: AtBlock,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Record a price of TAO in dollars: what rental due is valued at when a period closes."""
    from ledger.commands.treasury import observe_price
    from ledger.units import usd_micros_of

    stated = usd_micros_of(usd_per_tao)
    with _ledger(database, network, netuid) as ledger:
        booked = observe_price(
            ledger, usd_micros_per_tao=stated.value, source=source, about_block=at_block
        )
    _answer(output_format, f"the price of {stated} per TAO", booked)


def balance(
    provider: ProviderName,
    usd: Annotated[str, typer.Option(help="The dollars that the statement shows, e.g. 1234.56.")],
    at_block: AtBlock,
    source: Annotated[str, typer.Option(help="Which statement, e.g. 'statement of 30 June'.")],
    actor: Actor,
    correction: Annotated[
        str | None,
        typer.Option(
            help="Why what was recorded of that block before was wrong; both stay in the log."
        ),
    ] = None,
    new_provider: NewProvider = False,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Record what a provider's statement shows at a block; chain balances come from a node.

    For what is owed to a provider that bills afterwards, name it payable:NAME.
    """
    from ledger.commands.treasury import observe_statement
    from ledger.units import UsdMicros, signed, usd_micros_of

    sign, digits = signed(usd)
    shown = UsdMicros(sign * usd_micros_of(digits).value)
    with _ledger(database, network, netuid) as ledger:
        booked = observe_statement(
            ledger,
            provider=provider,
            usd_micros=shown.value,
            statement=source,
            about_block=at_block,
            actor=actor,
            new_provider=new_provider,
            correction=correction,
        )
    _answer(output_format, f"the statement of {provider} over {shown}", booked)


# -- inside ---------------------------------------------------------------------------------------


@contextmanager
def _ledger(database: str | None, network: str | None, netuid: int | None) -> Iterator[Ledger]:
    settings = settings_of(database, network, netuid)
    with opened(settings) as services:
        yield services.ledger(settings.network, settings.netuid)


def _one_amount(
    tao: str | None, usd: str | None, alpha: str | None, *, may_be_below_zero: bool
) -> tuple[Asset, int, str]:
    """The asset, its amount in the smallest unit, and the amount in words."""
    from ledger.units import decimal_text, rao_of, signed, usd_micros_of

    given = [
        (asset, text)
        for asset, text in (("TAO", tao), ("USD", usd), ("ALPHA", alpha))
        if text is not None
    ]
    if len(given) != 1:
        msg = "give one of --tao, --usd and --alpha"
        raise typer.BadParameter(msg)
    asset, text = given[0]
    sign, digits = signed(text) if may_be_below_zero else (1, text)
    # Alpha counts in 10^-9 as TAO does.
    value = sign * (usd_micros_of(digits) if asset == "USD" else rao_of(digits)).value
    named: Asset = "TAO" if asset == "TAO" else "USD" if asset == "USD" else "ALPHA"
    return named, value, f"{decimal_text(value, asset)} {asset}"


def _answer(output_format: OutputFormat, what: str, booked: Booked) -> None:
    """One sentence, and on stderr what the log does not bear out yet; or all of it as JSON."""
    if output_format is OutputFormat.JSON:
        show(booked, (), output_format)
        return
    how = "is booked" if booked.new else "was booked already"
    sys.stdout.write(f"{what} {how} about block {booked.about_block} ({booked.reference})\n")
    for note in booked.notes:
        sys.stderr.write(f"{note}\n")
