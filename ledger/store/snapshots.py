"""Snapshots: aggregates' states kept beside the log, so that loading one replays little of it.

They are a cache. Every row can be thrown away, and nothing changes but the time a load takes. A row
says which form its state has: a digest of the aggregate's fields, their types and its module's
source. A program with another form does not see it, and replays.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Mapping
from typing import Any, ClassVar, Final, TypeVar, get_origin, get_type_hints
from uuid import UUID

import msgspec
from rpds import HashTrieMap
from sqlalchemy import (
    Connection,
    Engine,
    Insert,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    null,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from ledger.decisions.base import Aggregate
from ledger.store.codec import decode, encode
from ledger.store.database import writing_if_free
from ledger.store.schema import events, snapshots

SNAPSHOT_EVERY: Final = 25
"""Facts of one aggregate between two snapshots: what a load replays at most, as a rule."""

AggregateT = TypeVar("AggregateT", bound=Aggregate)

_LOG: Final = logging.getLogger(__name__)

# Built once: building a statement costs as much as running it.
_KEPT: Final = (snapshots.c.originator_id == bindparam("identity")) & (
    snapshots.c.form == bindparam("form")
)
_NEWER: Final = func.coalesce(select(snapshots.c.version).where(_KEPT).scalar_subquery(), 0)
_AGGREGATE: Final = (
    select(
        snapshots.c.version.label("version"),
        cast(null(), Text).label("topic"),
        snapshots.c.state.label("state"),
    )
    .where(_KEPT)
    .union_all(
        select(events.c.originator_version, events.c.topic, events.c.state).where(
            events.c.originator_id == bindparam("identity"), events.c.originator_version > _NEWER
        )
    )
    .order_by(literal_column("1"))
)


def load_aggregate(
    connection: Connection, kind: type[AggregateT], identity: UUID
) -> tuple[AggregateT, int]:
    """An aggregate as recorded, and how many facts were replayed onto its snapshot, if any."""
    found, replayed = kind(identity), 0
    named = {"identity": identity, "form": form_of(kind)}
    for version, topic, state in connection.execute(_AGGREGATE, named):
        if topic is None:
            found = decode_state(kind, identity, version, bytes(state))
        else:
            found.take(decode(topic, bytes(state)))
            replayed += 1
    return found, replayed


def save_snapshot(engine: Engine, aggregate: Aggregate) -> None:
    """Keep a recorded aggregate's state, in the place of an older one.

    What it was taken of is recorded already: a state that cannot be kept, or a database that does
    not take it at once, is no failure of the command, and is logged as a warning.
    """
    try:
        statement = _statement(engine, aggregate)
        with writing_if_free(engine) as connection:
            connection.execute(statement)
    except Exception as error:  # noqa: BLE001  whatever it is, the command stands
        _LOG.warning("no snapshot of %s at version %d: %s", aggregate.id, aggregate.version, error)


def _statement(engine: Engine, aggregate: Aggregate) -> Insert:
    insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
    form = form_of(type(aggregate))
    statement = insert(snapshots).values(
        originator_id=aggregate.id,
        form=form,
        version=aggregate.version,
        state=encode_state(aggregate),
    )
    offered = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=[snapshots.c.originator_id],
        set_={"form": offered.form, "version": offered.version, "state": offered.state},
        where=or_(snapshots.c.form != form, snapshots.c.version < offered.version),
    )


# -- states as bytes ----------------------------------------------------------------------------


_TYPES: Final[dict[type[Aggregate], type[msgspec.Struct]]] = {}
_FORMS: Final[dict[type[Aggregate], str]] = {}


def state_type(kind: type[Aggregate]) -> type[msgspec.Struct]:
    """The struct of an aggregate's state: its declared attributes, and its last fact."""
    if kind not in _TYPES:
        _TYPES[kind] = _state_type(kind)
    return _TYPES[kind]


def form_of(kind: type[Aggregate]) -> str:
    """What a snapshot must be of for this program to read it: a digest, 32 hex digits."""
    if kind not in _FORMS:
        _FORMS[kind] = _form_of(kind)
    return _FORMS[kind]


def _state_type(kind: type[Aggregate]) -> type[msgspec.Struct]:
    fields = [
        (name, hint)
        # A persistent map is written as any other one.
        for name, hint in get_type_hints(kind, localns={"HashTrieMap": dict}).items()
        if get_origin(hint) is not ClassVar
    ]
    own: list[tuple[str, Any]] = [("last_topic", str), ("last_fact", bytes)]
    return msgspec.defstruct(f"{kind.__name__}State", own + fields, array_like=True)


def _form_of(kind: type[Aggregate]) -> str:
    described = [str(kind.STATE_VERSION), repr(msgspec.inspect.type_info(state_type(kind)))]
    for module in (inspect.getmodule(kind), *kind.BESIDE):
        try:
            described.append("" if module is None else inspect.getsource(module))
        except OSError:
            # Installed without sources: then STATE_VERSION and the types alone tell programs apart.
            described.append("")
    return hashlib.sha256("\n".join(described).encode()).hexdigest()[:32]


def encode_state(aggregate: Aggregate) -> bytes:
    """The state of an aggregate that has at least one fact."""
    if aggregate.last is None:
        msg = f"{aggregate.id} has no fact, so there is no state of it to keep"
        raise ValueError(msg)
    kind = state_type(type(aggregate))
    names = kind.__struct_fields__[2:]
    values = [_plain(getattr(aggregate, name)) for name in names]
    return msgspec.msgpack.encode(kind(aggregate.last.topic, encode(aggregate.last), *values))


def decode_state(kind: type[AggregateT], identity: UUID, version: int, data: bytes) -> AggregateT:
    """The aggregate of that state."""
    state: Any = msgspec.msgpack.decode(data, type=state_type(kind))
    aggregate = kind(identity)
    aggregate.version = version
    aggregate.last = decode(state.last_topic, state.last_fact)
    for name in state.__struct_fields__[2:]:
        value = getattr(state, name)
        if isinstance(getattr(kind, name), HashTrieMap):
            value = HashTrieMap(value)
        setattr(aggregate, name, value)
    return aggregate


def _plain(value: Any) -> Any:
    return dict(value.items()) if isinstance(value, HashTrieMap | Mapping) else value


# When the program starts: later its files may be those of a newer one, whose form this is not.
for _kind in Aggregate.__subclasses__():
    form_of(_kind)
