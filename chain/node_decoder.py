"""Decoders by runtime version: metadata is fetched once per version, and never mixed up.

A block is decoded by the runtime of its parent's state, which is the one that executed it: the
block that carries an upgrade was still made by the old runtime. substrate-interface's
``init_runtime`` knows that rule, but it notes the block and the version before it has their
metadata, so that a node's error in between leaves it decoding with the wrong one; and one object
that goes back and forth between versions builds its types anew each time. So each version has a
decoder of its own, whose version is fixed once it is whole.

scalecodec keeps the registry a type belongs to on its class, and some classes are shared by all
registries: two threads that decode for two versions would disturb each other. ``DECODING`` lets
one thread decode at a time (they could not run at once anyway); it is let go while a node is
waited for.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from scalecodec.base import RuntimeConfigurationObject, ScaleBytes, ScaleDecoder
from substrateinterface import SubstrateInterface
from substrateinterface.storage import StorageKey
from substrateinterface.utils.hasher import xxh128

from chain.kept import Kept
from chain.node_answers import STORAGE

SS58_FORMAT: Final = 42
MAX_CHAINS: Final = 2
"""Chains whose metadata is kept; a process follows one."""
MAX_KEPT_KEYS: Final = 1_024
"""Storage keys kept by a decoder, for a subnet's 256 hotkeys and some of their maps."""
MAX_RUNTIMES: Final = 4
"""Runtimes kept with their metadata, which is tens of megabytes each; the longest unused goes."""

EVENTS_KEY: Final = "0x" + bytes(xxh128(b"System") + xxh128(b"Events")).hex()
"""The storage key of ``System.Events``, the same in every runtime."""

DECODING: Final = threading.Lock()

MAX_FRAMES: Final = 10_000
"""How deep Python may go. A runtime carries out calls nested 256 deep, anybody may send them, and
scalecodec goes some 13 frames down for each level: Python's own 1,000 would end at a valid block.
"""
sys.setrecursionlimit(max(sys.getrecursionlimit(), MAX_FRAMES))

Call = Callable[[str, list[Any]], dict[str, Any]]
"""(method, params) → the reply with its result; raises what the transport raises."""


class _NoSocket:
    """In the place of a connection: a decoder's requests go through its ``call``."""

    def close(self) -> None:
        """Nothing is open."""


_OF_THE_LIBRARY: Final = RuntimeConfigurationObject.all_subclasses(ScaleDecoder)


class _Types(RuntimeConfigurationObject):  # type: ignore[misc]
    """scalecodec's registry, which remembers the classes that it found or made once it is whole.

    Its own makes a new class for every ``Vec<…>`` and tuple that it meets, and sets an attribute of
    every class that it gives, which takes Python's memory of attributes away: a third of decoding.
    """

    def __init__(self) -> None:
        self.is_whole = False
        self._found: dict[str, Any] = {}
        super().__init__()

    @classmethod
    def all_subclasses(cls, class_: type) -> Any:
        """The library's own classes, without those that other registries have made since.

        Those are tens of thousands in a process that has had many decoders: walking through them
        would take longer than all else about one more.
        """
        return _OF_THE_LIBRARY if class_ is ScaleDecoder else super().all_subclasses(class_)

    def get_decoder_class(self, type_string: str | dict[str, Any]) -> Any:
        """The class that decodes a type; it is this registry's from then on."""
        if not self.is_whole or not isinstance(type_string, str):
            return super().get_decoder_class(type_string)
        found = self._found.get(type_string)
        if found is None:
            found = super().get_decoder_class(type_string)
            if found is not None:
                self._found[type_string] = found
        elif found.runtime_config is not self:
            found.runtime_config = self
        return found

    def update_type_registry_types(self, types_dict: dict[str, Any]) -> None:
        """Take more types, as a call of the runtime does; nothing is remembered then."""
        self.is_whole = False
        self._found.clear()
        super().update_type_registry_types(types_dict)


class Decoder(SubstrateInterface):  # type: ignore[misc]
    """substrate-interface over somebody else's connection; must be used under ``DECODING``.

    With a ``version`` and a ``block_hash`` it has the runtime that made that block, for good.
    Without, it follows whatever block it is asked about, as the library does.
    """

    def __init__(self, call: Call, metadata: MetadataCache, block_hash: str | None = None) -> None:
        self._call = call
        self._is_fixed = False
        self._keys: Kept[tuple[str, ...], StorageKey] = Kept(MAX_KEPT_KEYS)
        super().__init__(
            websocket=_NoSocket(),
            ss58_format=SS58_FORMAT,
            runtime_config=_Types(),
            cache_region=metadata,
            # Names that every node has, so that none is asked for its list of methods.
            config={"rpc_methods": ["chain_getHead", "state_getRuntimeVersion"]},
        )
        if block_hash is not None:
            self.init_runtime(block_hash=block_hash)
            self._is_fixed = True
            self.runtime_config.is_whole = True

    def init_runtime(self, block_hash: str | None = None, block_id: int | None = None) -> None:
        """Nothing once the runtime is fixed."""
        if not self._is_fixed:
            super().init_runtime(block_hash=block_hash, block_id=block_id)

    def rpc_request(self, method: str, params: list[Any], result_handler: Any = None) -> Any:
        """The reply, from what is at hand or from the node; others may decode meanwhile."""
        if result_handler is not None:
            msg = "subscriptions are not followed over this connection; poll instead"
            raise NotImplementedError(msg)
        DECODING.release()
        try:
            return self._call(method, params)
        finally:
            DECODING.acquire()

    def storage_key(self, module: str, name: str, params: list[Any]) -> StorageKey:
        """The key of a storage entry by this runtime; ``create_storage_key`` would ask the head.

        Looking an entry up in the metadata costs more than all else about a value: keys are kept.
        """
        spelled = (module, name, *map(repr, params))
        found = self._keys.get(spelled)
        if found is None:
            found = StorageKey.create_from_storage_function(
                module, name, params, runtime_config=self.runtime_config, metadata=self.metadata
            )
            self._keys.put(spelled, found)
        return found

    def value(self, module: str, name: str, params: list[Any], block_hash: str) -> Any:
        """A storage entry in the state of a block, decoded; its default where it is empty."""
        key = self.storage_key(module, name, params)
        data = self.rpc_request(STORAGE, [key.to_hex(), block_hash])["result"]
        return key.decode_scale_value(None if data is None else ScaleBytes(data))


class MetadataCache:
    """What substrate-interface calls a cache region: the newest few decoded metadata.

    ``has_left`` is true while something that was kept earlier waits to be collected.
    """

    def __init__(self) -> None:
        self._kept: Kept[str, Any] = Kept(MAX_RUNTIMES)
        self._has_new = False
        self.has_left = False

    def get(self, key: str) -> Any:
        """The metadata, or None."""
        return self._kept.get(key)

    def set(self, key: str, value: Any) -> None:
        """Keep it."""
        self.has_left |= self._kept.put(key, value)
        self._has_new = True

    def took_new(self) -> bool:
        """Whether any was kept since this was asked last."""
        had, self._has_new = self._has_new, False
        return had


def _spare_the_collector(*, has_left: bool) -> None:
    """Take metadata out of the garbage collector's rounds: a million objects that live for long.

    Looking through them takes longer than decoding a hundred blocks, so all that was taken out
    earlier is looked through only where ``has_left``: what was left of a runtime that is no longer
    kept is collected then. One more decoder over metadata at hand has a few thousand objects of its
    own, which are left to the collector.
    """
    if has_left:
        gc.unfreeze()
    gc.collect()
    gc.freeze()


_METADATA: Final[Kept[str, MetadataCache]] = Kept(MAX_CHAINS)


def metadata_of(genesis: str) -> MetadataCache:
    """The metadata of the chain with that block 0, shared by all its nodes in this process."""
    found = _METADATA.get(genesis)
    if found is None:
        found = MetadataCache()
        found.has_left = _METADATA.put(genesis, found)
    return found


class Decoders:
    """The fixed decoders of one chain by spec version; safe to share between threads."""

    def __init__(self, call: Call, metadata: MetadataCache) -> None:
        self._call = call
        self._metadata = metadata
        self._kept: OrderedDict[int, Decoder] = OrderedDict()
        self._making = threading.Lock()

    def of(self, version: int, block_hash: str) -> Decoder:
        """The decoder of a version; ``block_hash`` is a block that this version made."""
        with self._making:
            found = self._kept.get(version)
            if found is None:
                with DECODING:
                    found = Decoder(self._call, self._metadata, block_hash)
                    is_new = self._metadata.took_new()
                if found.runtime_version != version:
                    msg = (
                        f"block {block_hash} was said to be made by runtime {version} and then by "
                        f"{found.runtime_version}"
                    )
                    raise ValueError(msg)
                self._kept[version] = found
                while len(self._kept) > MAX_RUNTIMES:
                    self._kept.popitem(last=False)
                    self._metadata.has_left = True
                if is_new:
                    _spare_the_collector(has_left=self._metadata.has_left)
                    self._metadata.has_left = False
            self._kept.move_to_end(version)
            return found
