"""Which calls of an extrinsic the runtime carried out, for whom, and by which events each shows.

An extrinsic's own success proves little: a ``batch`` that was interrupted and a ``proxy`` whose
call failed both report it. But every wrapper leaves marks among the events, after those of what it
wrapped: ``batch_all`` one ``ItemCompleted`` a call and ``BatchCompleted``, ``batch`` the same up to
a ``BatchInterrupted``, ``force_batch`` ``ItemCompleted`` or ``ItemFailed``, ``proxy`` and
``as_multi`` an event that carries the result. What failed took its own events back with it. So the
events are read from the last to the first, beside the calls from the outermost to the innermost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chain.port import Call, ChainEvent, Extrinsic

BATCH_CALLS: Final = frozenset({"Utility.batch", "Utility.batch_all", "Utility.force_batch"})

MAX_NESTING: Final = 64
"""Calls wrapped deeper than this are not looked into, though a runtime carries out 256 levels: what
they did shows in its events alone."""

_EXECUTED: Final = "Multisig.MultisigExecuted"
_APPROVALS: Final = ("Multisig.NewMultisig", "Multisig.MultisigApproval")

_MARKS: Final = frozenset(
    {
        "Utility.ItemCompleted",
        "Utility.ItemFailed",
        "Utility.BatchInterrupted",
        "Utility.BatchCompleted",
        "Utility.BatchCompletedWithErrors",
        "Utility.DispatchedAs",
        "Proxy.ProxyExecuted",
        _EXECUTED,
        "Sudo.Sudid",
        "Sudo.SudoAsDone",
        *_APPROVALS,
    }
)


@dataclass(frozen=True, slots=True)
class Run:
    """A call that wraps no other one, and what became of it.

    ``origin`` is the account it was made for; None where the events do not prove one (the call
    never ran, or ran for an account that no argument names). ``events`` are its own, in order.
    ``depth`` is 0 for the extrinsic's own call and 1 for a direct child of its batch.
    """

    call: Call
    origin: str | None
    done: bool
    events: tuple[ChainEvent, ...]
    depth: int


class UnreadableRunError(Exception):
    """The events do not fit the calls: something among them ran calls that it does not show."""


def runs_of(extrinsic: Extrinsic, events: Sequence[ChainEvent]) -> list[Run]:
    """What became of every innermost call of an extrinsic, in the order of the calls.

    ``events`` are those of the block, or its own. A wrapper that did not run gives its inner calls
    as not done. Raises :class:`UnreadableRunError`.
    """
    reading = _Reading([event for event in events if event.extrinsic_index == extrinsic.index])
    reading.walk(extrinsic.call, extrinsic.signer, done=extrinsic.success, depth=0)
    return reading.finish()


def by_extrinsic(events: Sequence[ChainEvent]) -> dict[int | None, list[ChainEvent]]:
    """A block's events by the extrinsic that caused them; None: the runtime itself.

    Looked through once: a block has thousands of extrinsics, and each one's events are wanted.
    """
    own: dict[int | None, list[ChainEvent]] = {}
    for event in events:
        own.setdefault(event.extrinsic_index, []).append(event)
    return own


def event_name(event: ChainEvent) -> str:
    """``Module.Name``, e.g. ``Balances.Transfer``."""
    return f"{event.module}.{event.name}"


@dataclass(slots=True)
class _Leaf:
    """A run whose first event is not known yet: they are read backwards."""

    call: Call
    origin: str | None
    done: bool
    depth: int
    first: int
    end: int


class _Reading:
    """One extrinsic's events, read backwards while its calls are walked from the last."""

    def __init__(self, own: Sequence[ChainEvent]) -> None:
        self._own = own
        self._end = len(own)
        self._leaves: list[_Leaf] = []
        self._open: _Leaf | None = None

    def finish(self) -> list[Run]:
        """The runs in the order of the calls."""
        left = [event for event in self._own[: self._end] if event_name(event) in _MARKS]
        if left:
            msg = f"the calls do not explain the event {event_name(left[-1])}"
            raise UnreadableRunError(msg)
        return [
            Run(
                leaf.call,
                leaf.origin,
                leaf.done,
                tuple(self._own[leaf.first : leaf.end]),
                leaf.depth,
            )
            for leaf in reversed(self._leaves)
        ]

    def walk(self, call: Call, origin: str | None, *, done: bool, depth: int) -> None:
        """Read backwards what ``call`` left, whose own outcome is ``done``."""
        inner = call.args.get("call")
        if depth < MAX_NESTING and call.name in BATCH_CALLS and call.children:
            self._batch(call, origin, done=done, depth=depth)
        elif depth < MAX_NESTING and isinstance(inner, Call) and call.name in _WRAPPERS:
            if not done:
                # Whether it might act for another account was not even asked, or was denied.
                self.walk(inner, None, done=False, depth=depth + 1)
                return
            marks, names_origin = _WRAPPERS[call.name]
            mark = self._pop(*marks) if marks else self._pop_if(_EXECUTED, call)
            ran, whom = names_origin(call, origin, mark)
            self.walk(inner, whom, done=ran, depth=depth + 1)
        else:
            if done and call.name in BATCH_CALLS and not call.children:
                self._pop("Utility.BatchCompleted", "Utility.BatchCompletedWithErrors")
            elif done and call.name == "Multisig.approve_as_multi":
                self._pop(*_APPROVALS)
            self._leaf(call, origin, done=done, depth=depth)

    def _batch(self, call: Call, origin: str | None, *, done: bool, depth: int) -> None:
        outcomes = [False] * len(call.children)
        items: tuple[str, ...] = ("Utility.ItemCompleted",)
        ran = len(outcomes) if done else 0
        if done and call.name == "Utility.batch":
            mark = self._pop("Utility.BatchCompleted", "Utility.BatchInterrupted")
            if mark.name == "BatchInterrupted":
                ran = min(ran, int(mark.attributes.get("index", mark.attributes.get("0", 0))))
        elif done and call.name == "Utility.force_batch":
            self._pop("Utility.BatchCompleted", "Utility.BatchCompletedWithErrors")
            items = ("Utility.ItemCompleted", "Utility.ItemFailed")
        elif done:
            self._pop("Utility.BatchCompleted")
        for place in range(len(outcomes) - 1, -1, -1):
            if place < ran:
                outcomes[place] = self._pop(*items).name == "ItemCompleted"
            self.walk(call.children[place], origin, done=outcomes[place], depth=depth + 1)

    def _leaf(self, call: Call, origin: str | None, *, done: bool, depth: int) -> None:
        leaf = _Leaf(call, origin, done, depth, first=self._end if not done else 0, end=self._end)
        self._leaves.append(leaf)
        if done:
            self._open = leaf

    def _pop_if(self, name: str, call: Call) -> ChainEvent | None:
        """The mark before where it is of that name, for the one call that newer runtimes mark."""
        if call.name != "Multisig.as_multi_threshold_1":
            return None
        for place in range(self._end - 1, -1, -1):
            if event_name(self._own[place]) in _MARKS:
                return self._pop(name) if event_name(self._own[place]) == name else None
        return None

    def _pop(self, *names: str) -> ChainEvent:
        """Go back to the mark before, which must be one of ``names``."""
        for place in range(self._end - 1, -1, -1):
            event = self._own[place]
            if event_name(event) in names:
                self._end = place
                if self._open is not None:
                    self._open.first, self._open = place + 1, None
                return event
            if event_name(event) in _MARKS:
                break
        msg = f"no {' or '.join(names)} where the calls ask for one"
        raise UnreadableRunError(msg)


def succeeded(result: object) -> bool:
    """Whether a ``DispatchResult``, as substrate-interface shows it, is ``Ok``."""
    return result == "Ok" or (isinstance(result, Mapping) and "Ok" in result)


def _attribute(mark: ChainEvent | None, name: str) -> Any:
    return None if mark is None else mark.attributes.get(name, mark.attributes.get("0"))


def _for_real(call: Call, _: str | None, mark: ChainEvent | None) -> tuple[bool, str | None]:
    return succeeded(_attribute(mark, "result")), str(call.args["real"])


def _for_multisig(_: Call, __: str | None, mark: ChainEvent | None) -> tuple[bool, str | None]:
    if mark is None or mark.name != "MultisigExecuted":
        return False, None  # approved so far, not made yet
    return succeeded(mark.attributes.get("result")), str(mark.attributes.get("multisig"))


def _for_whom(call: Call, _: str | None, mark: ChainEvent | None) -> tuple[bool, str | None]:
    return succeeded(_attribute(mark, "sudo_result")), str(call.args["who"])


def _for_root(_: Call, __: str | None, mark: ChainEvent | None) -> tuple[bool, str | None]:
    return succeeded(_attribute(mark, "sudo_result")), None


def _for_another(_: Call, __: str | None, mark: ChainEvent | None) -> tuple[bool, str | None]:
    return mark is None or succeeded(_attribute(mark, "result")), None


def _for_its_multisig(
    call: Call, origin: str | None, mark: ChainEvent | None
) -> tuple[bool, str | None]:
    return (True, None) if mark is None else _for_multisig(call, origin, mark)


def _for_the_same(_: Call, origin: str | None, __: ChainEvent | None) -> tuple[bool, str | None]:
    return True, origin


_WRAPPERS: Final = {
    "Proxy.proxy": (("Proxy.ProxyExecuted",), _for_real),
    "Proxy.proxy_announced": (("Proxy.ProxyExecuted",), _for_real),
    "Multisig.as_multi": ((_EXECUTED, *_APPROVALS), _for_multisig),
    # Its account is named by no argument and, in the runtime that was recorded, by no event.
    "Multisig.as_multi_threshold_1": ((), _for_its_multisig),
    "Utility.as_derivative": ((), _for_another),
    "Utility.dispatch_as": (("Utility.DispatchedAs",), _for_another),
    "Utility.with_weight": ((), _for_the_same),
    "Sudo.sudo": (("Sudo.Sudid",), _for_root),
    "Sudo.sudo_unchecked_weight": (("Sudo.Sudid",), _for_root),
    "Sudo.sudo_as": (("Sudo.SudoAsDone",), _for_whom),
}
"""Wrapper of one call: the marks that may stand for it, and (whether it ran, for whom)."""
