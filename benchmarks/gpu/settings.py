"""What each step starts, by kind of engine: vLLM on a GPU, or our reference server to rehearse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import parse_qsl

Kind = Literal["vllm", "reference"]

VLLM_COMMON: Final = (
    "max_model_len=2048&gpu_memory_utilization=0.1&kv_cache_memory_bytes=2G"
    "&max_cudagraph_capture_size=32"
)
"""What every vLLM of a contest is told, so that a dozen small ones fit one GPU side by side: each
sizes its cache by these bytes and not by what it finds free, which another start may be taking."""

PROXIED: Final = {
    "honest": "",
    "truncate": "truncated",
    "replay": "replayed",
    "flush": "flushed",
    "early_first": "flushed",
    "sampler": "sampler_changed",
    "temperature": "sampler_changed",
    "forge": "logprobs_forged",
    "drop_logprobs": "logprobs_missing",
}
"""What the proxy of ``cheats/proxy.py`` can do, and the code that it must end with."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One entrant: what it is called in tables, its launch, and the code it must end with."""

    name: str
    image: str
    expected: str = ""
    """Of the honest none: they are scored."""


@dataclass(frozen=True, slots=True)
class Engines:
    """The launches of one kind of engine. ``common`` are the parameters of every launch."""

    kind: Kind
    common: Mapping[str, str]

    def launch(self, *, profile: str = "", **own: str) -> str:
        """``profile:NAME?…`` of this kind (or of the named profile), with ``own`` parameters over
        the common ones."""
        known = self.common if not profile or profile.startswith(self.kind) else {}
        values = {**known, **own}
        query = "&".join(f"{name}={value}" for name, value in values.items())
        return f"profile:{profile or self.kind}" + (f"?{query}" if query else "")

    def baseline(self) -> str:
        """The pinned baseline, which is the reference too."""
        return self.launch() if self.kind == "vllm" else self.launch(engine="kv_cache")

    def honest(self) -> tuple[Arm, ...]:
        """Other settings that compute the same."""
        if self.kind == "reference":
            return (
                Arm("prefix-cache", self.launch(engine="prefix_cache")),
                Arm("float64", self.kind_of_reference("float64")),
            )
        return (
            Arm("seqs-8", self.launch(max_num_seqs="8")),
            Arm("batched-512", self.launch(max_num_batched_tokens="512")),
            Arm("triton", self.launch(attention_backend="TRITON_ATTN")),
            Arm("flex", self.launch(attention_backend="FLEX_ATTENTION")),
            Arm("sync", self.launch(async_scheduling="false")),
            Arm("eager", self.launch(enforce_eager="true")),
        )

    def without_logprobs(self) -> tuple[Arm, ...]:
        """Honest ones that give no logprobs or no token ids."""
        if self.kind == "reference":
            return (Arm("silent", self.kind_of_reference("no_logprobs")),)
        return (
            Arm("vllm", self.launch()),
            # Last, since its cache takes what it finds free.
            Arm("transformers", "profile:transformers-adapted?continuous_batching=true"),
        )

    def coarse(self) -> tuple[Arm, ...]:
        """Cheats in what is computed: less precision than allowed, and other weights."""
        if self.kind == "reference":
            return (
                Arm("fp8-weights", self.kind_of_reference("fp8_weights"), "quantised"),
                Arm("fp8-kv", self.kind_of_reference("fp8_kv"), "quantised"),
                Arm("other-weights", self.kind_of_reference("other_weights"), "other_weights"),
            )
        return (
            Arm("fp8-weights", self.launch(quantization="fp8"), "quantised"),
            Arm("fp8-kv", self.launch(kv_cache_dtype="fp8"), "quantised"),
            Arm("other-weights", self.launch(profile="vllm-other-weights"), "other_weights"),
        )

    def field(self) -> tuple[Arm, ...]:
        """The honest and the coarse together."""
        return (*self.honest(), *self.coarse())

    def over_gpus(self) -> tuple[Arm, ...]:
        """A copy of the baseline, and the first other setting."""
        return (Arm("copy", self.baseline()), self.honest()[0])

    def arms_of(self, step: str) -> tuple[Arm, ...]:
        """The arms that are known of a step before it runs; none of one that has none to choose."""
        known = {
            "honest": self.honest,
            "transformers": self.without_logprobs,
            "cheats": self.coarse,
            "field": self.field,
            "proxies": lambda: self.proxied(0),
            "tp": self.over_gpus,
        }
        return known[step]() if step in known else ()

    def proxied(self, port: int) -> tuple[Arm, ...]:
        """Cheats before an honest server that listens on ``port`` of this machine."""
        profile = "cheat-proxy" if self.kind == "vllm" else "cheat-proxy-reference"
        return tuple(
            Arm(name, f"profile:{profile}?cheat={name}&backend={port}", code)
            for name, code in PROXIED.items()
            # Our reference server takes no temperature but 0.
            if self.kind == "vllm" or name != "temperature"
        )

    def climbers(self) -> tuple[str, str, str, str]:
        """The baseline of the king of the hill and its three kings, each faster than the last."""
        if self.kind == "reference":
            return (
                self.launch(engine="recompute"),
                self.kind_of_reference("float64"),
                self.launch(engine="kv_cache"),
                self.launch(engine="prefix_cache"),
            )
        return (
            # Twice as many at once: a number without a CUDA graph of its own is slower than fewer.
            self.launch(max_num_seqs="2"),
            self.launch(max_num_seqs="4"),
            self.launch(max_num_seqs="8"),
            self.launch(),
        )

    def references(self) -> Mapping[str, str]:
        """Ways to start the reference that forces answers; the first is the baseline's own."""
        if self.kind == "reference":
            return {
                "same": self.baseline(),
                "float64": self.kind_of_reference("float64"),
            }
        return {
            "same": self.baseline(),
            "batch invariant": self.launch(batch_invariant="true"),
            "eager": self.launch(enforce_eager="true"),
        }

    def kind_of_reference(self, kind: str) -> str:
        """A server of the rehearsal's own profile, ``profiles/reference-kind.toml``."""
        return self.launch(profile="reference-kind", kind=kind)


def parameters_of(text: str) -> dict[str, str]:
    """``a=b&c=d`` as a mapping; raises ``ValueError`` for anything else."""
    return dict(parse_qsl(text, strict_parsing=True)) if text else {}
