"""What an engine's own log says is wrong, in one sentence each, with what to do about it.

The words are those of vLLM, SGLang, transformers, torch and the system, as they were seen; a log
that says it otherwise is shown as it is and explained by nobody.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from evaluation.client import printable

MAX_LINE_CHARS: Final = 300
"""Of a line that is quoted."""
MAX_HINTS: Final = 5
"""A log may hold every known sentence; the first few are the cause, the rest its echo."""


class LogHint(NamedTuple):
    """``line`` is the log's own; ``meaning`` what it says; ``remedy`` what to do."""

    line: str
    meaning: str
    remedy: str
    topic: str
    """``flag``, ``gpu``, ``memory``, ``model``, ``files``, ``network``, ``image`` or ``port``."""


class _Known(NamedTuple):
    topic: str
    pattern: re.Pattern[str]
    meaning: str
    """May name the pattern's groups as ``{0}``, ``{1}``."""
    remedy: str


def _known(topic: str, pattern: str, meaning: str, remedy: str) -> _Known:
    return _Known(topic, re.compile(pattern, re.IGNORECASE), meaning, remedy)


# The special before the general: the first that fits a line explains it.
_KNOWN: Final[Sequence[_Known]] = (
    _known(
        "flag",
        r"argument (\S+): invalid choice: '?([^'()\s]+)'?",
        "the engine in this image does not know the value {1} of {0}",
        "use one of the values that its log lists, or an image of a version that knows it",
    ),
    _known(
        "flag",
        r"argument (\S+): (invalid \w+ value|expected [\w ]+)",
        "the engine cannot use what {0} is given: {1}",
        "correct the value in the image's command",
    ),
    _known(
        "flag",
        r"unrecognized arguments?: (.+)",
        "the engine in this image has no such option: {0}",
        "leave it out, or use a version of the engine that has it",
    ),
    _known(
        "flag",
        r"no such option:? ?(\S*)",
        "the engine in this image has no such option: {0}",
        "leave it out, or use a version of the engine that has it",
    ),
    _known(
        "flag",
        r"the following arguments are required: (.+)",
        "the engine was started without what it needs: {0}",
        "add it to the image's command; the weights lie at /models",
    ),
    _known(
        "gpu",
        r"world size \((\d+)\) is larger than the number of available gpus \((\d+)\)",
        "the image asks for {0} GPUs and the machine gives it {1}",
        "derive the tensor-parallel size from the GPUs that are there instead of writing it down",
    ),
    _known(
        "gpu",
        r"tensor[ _-]?parallel(?:[ _-]?size)?.{0,80}(?:must be divisible|not divisible|is larger|"
        r"greater than|exceeds|not supported)",
        "the tensor-parallel size does not fit the GPUs or the model's heads",
        "derive it from the GPUs that are there, and let it divide the attention heads",
    ),
    _known(
        "gpu",
        r"must be divisible by (?:the )?tensor[ _-]?parallel",
        "the tensor-parallel size does not divide the model's attention heads",
        "choose one that does: 1, 2, 4 or 8 fit most models",
    ),
    _known(
        "gpu",
        r"no kernel image is available|not compiled with.{0,40}sm_?\d+|sm_\d+ is not compatible",
        "the image's device code was not built for this GPU",
        "build it for the GPUs of the contest (H100 and H200: sm_90; B200 and B300: sm_100)",
    ),
    _known(
        "gpu",
        r"no cuda gpus are available|found no nvidia driver|libcuda\.so\S*: cannot open|"
        r"cuda driver version is insufficient",
        "the server found no GPU, or a driver older than its CUDA",
        "give it a GPU (--gpus on this command), or build on a CUDA that the driver supports",
    ),
    _known(
        "memory",
        r"cuda out of memory|outofmemoryerror|no available memory for the cache blocks|"
        r"larger than the maximum number of tokens that can be stored in kv cache|"
        r"free memory on device .{0,80}is less than",
        "the GPU's memory was not enough",
        "lower the share of memory it takes, the longest sequence or the batch, or spread the "
        "model over more GPUs",
    ),
    _known(
        "memory",
        r"cannot allocate memory|std::bad_alloc|\bmemoryerror\b|oom-?kill|\bkilled\b",
        "the machine's memory was not enough, or its limit was reached",
        "use less than the limit: 200 GB in a contest unless the track's policy says otherwise",
    ),
    _known(
        "network",
        r"temporary failure in name resolution|name or service not known|"
        r"failed to resolve|getaddrinfo failed|network is unreachable|"
        r"couldn'?t connect to '?https?:|max retries exceeded with url|"
        r"localentrynotfounderror|offlinemodeisenabled|cannot reach https?:",
        "the server wanted the network, and a contest gives it none",
        "put all it needs into the image, read the weights from /models, and set HF_HUB_OFFLINE=1",
    ),
    _known(
        "files",
        r"read-only file system:? ?(\S*)",
        "the server wrote outside /tmp {0}",
        "write below /tmp only: set HOME, TMPDIR, XDG_CACHE_HOME and the engine's cache to it",
    ),
    _known(
        "files",
        r"(?:permission denied|permissionerror).{0,40}?(/\S*)",
        "the server may not use {0}",
        "write below /tmp only, and run as a user that may read the image's files",
    ),
    _known(
        "files",
        r"no space left on device",
        "the server filled its scratch space",
        "write less to /tmp: it is a bounded piece of memory",
    ),
    _known(
        "model",
        r"(?:is not a valid model identifier|not a local folder|does not appear to have a file "
        r"named|can'?t load the model for|no such file or directory: '?/models|unrecognized model "
        r"in|no config file found)",
        "the engine did not find the model's files",
        "load the model from /models, where the contest mounts it read-only; at home give --model",
    ),
    _known(
        "model",
        r"is no model (?:archive|configuration)",
        "the engine could not read the model's files",
        "give the model that the track's policy names with --model",
    ),
    _known(
        "model",
        # An engine that lists its settings names it too.
        r"(?:setting|passing|pass the argument|set the option)\W{0,3}trust[_-]remote[_-]code",
        "the model needs code of its own, and the engine was not told to trust it",
        "add the engine's option for it (vLLM, SGLang: --trust-remote-code)",
    ),
    _known(
        "image",
        r"exec format error",
        "the image was built for another kind of processor",
        "build it for linux/amd64",
    ),
    _known(
        "image",
        r"(?:modulenotfounderror: no module named|importerror: .{0,80}cannot open shared object "
        r"file|error while loading shared libraries|command not found|"
        r"executable file not found|can't open file)",
        "a program or library is missing in the image",
        "install it in the image, and start it once before you submit",
    ),
    _known(
        "port",
        r"address already in use",
        "the server's port was taken",
        "let it listen once, on port 8000; start no second server beside it",
    ),
)


def explain(log: str) -> tuple[LogHint, ...]:
    """What is known of the lines of ``log``, in their order, each meaning once."""
    found: dict[str, LogHint] = {}
    for line in log.splitlines():
        hint = _explained(line)
        if hint is not None and len(found) < MAX_HINTS:
            found.setdefault(hint.meaning, hint)
    return tuple(found.values())


def _explained(line: str) -> LogHint | None:
    shown = printable(line)[:MAX_LINE_CHARS]
    for known in _KNOWN:
        match = known.pattern.search(shown)
        if match is not None:
            parts = [(part or "").strip(" .,;:") for part in match.groups()]
            meaning = known.meaning.format(*parts).rstrip()
            return LogHint(shown, meaning, known.remedy, known.topic)
    return None
