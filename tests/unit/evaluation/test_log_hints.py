"""What engines say in their logs is explained, and what nobody knows is left alone."""

from __future__ import annotations

import pytest

from evaluation.log_hints import MAX_HINTS, MAX_LINE_CHARS, explain


@pytest.mark.parametrize(
    ("line", "topic", "meaning"),
    [
        (
            "vllm: error: argument --kv-cache-dtype: invalid choice: 'fp8' (choose from 'auto')",
            "flag",
            "the engine in this image does not know the value fp8 of --kv-cache-dtype",
        ),
        (
            "launch_server.py: error: unrecognized arguments: --disable-log-stats",
            "flag",
            "the engine in this image has no such option: --disable-log-stats",
        ),
        (
            "ValueError: World size (8) is larger than the number of available GPUs (1) in this "
            "node.",
            "gpu",
            "the image asks for 8 GPUs and the machine gives it 1",
        ),
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
            "memory",
            "the GPU's memory was not enough",
        ),
        (
            "RuntimeError: CUDA error: no kernel image is available for execution on the device",
            "gpu",
            "the image's device code was not built for this GPU",
        ),
        (
            "OSError: [Errno 30] Read-only file system: '/srv/.cache'",
            "files",
            "the server wrote outside /tmp '/srv/.cache'",
        ),
        (
            "socket.gaierror: [Errno -3] Temporary failure in name resolution",
            "network",
            "the server wanted the network, and a contest gives it none",
        ),
        (
            "exec /usr/bin/python3: exec format error",
            "image",
            "the image was built for another kind of processor",
        ),
        (
            "OSError: [Errno 98] error while attempting to bind on address: address already in use",
            "port",
            "the server's port was taken",
        ),
        (
            "consider setting `trust_remote_code=True` in LLM or using the `--trust-remote-code` "
            "flag in the CLI.",
            "model",
            "the model needs code of its own, and the engine was not told to trust it",
        ),
        (
            "Please pass the argument `trust_remote_code=True` to allow custom code to be run.",
            "model",
            "the model needs code of its own, and the engine was not told to trust it",
        ),
        (
            "Please set the option `trust_remote_code=True` to permit loading of this model.",
            "model",
            "the model needs code of its own, and the engine was not told to trust it",
        ),
    ],
)
def test_a_known_sentence_is_explained(line: str, topic: str, meaning: str) -> None:
    (hint,) = explain(f"INFO starting\n{line}\nINFO bye")
    assert (hint.topic, hint.meaning) == (topic, meaning)
    assert hint.line == line
    assert hint.remedy


def test_an_ordinary_log_is_not_explained() -> None:
    assert (
        explain("listening on 127.0.0.1:8000\nGET /health: 503 The model is still loading.") == ()
    )


def test_what_vllm_tells_of_its_settings_is_not_explained() -> None:
    log = (
        "(EngineCore pid=63) INFO 11-26 15:01:38 [core.py:122] Initializing a V1 LLM engine "
        "(v0.28.0) with config: trust_remote_code=False, tensor_parallel_size=2, "
        "disable_custom_all_reduce=True\n"
        "(EngineCore pid=63) INFO 11-26 15:01:38 [multiproc_executor.py:469] [shutdown] Executor: "
        "waiting for worker exit count=0"
    )
    assert explain(log) == ()
    assert explain(log.replace("trust_remote_code=False", "trust_remote_code=True")) == ()


def test_each_meaning_is_told_once_and_only_the_first_few() -> None:
    assert len(explain("CUDA out of memory\n" * 50)) == 1
    flags = "\n".join(f"error: unrecognized arguments: --flag-{n}" for n in range(50))
    assert len(explain(flags)) == MAX_HINTS


def test_a_quoted_line_is_bounded_and_printable() -> None:
    (hint,) = explain("CUDA out of memory \x1b[31m" + "x" * 10_000)
    assert len(hint.line) == MAX_LINE_CHARS
    assert hint.line.isprintable()
