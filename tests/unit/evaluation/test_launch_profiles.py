"""Launch profiles: data that names one way to start an engine, and nothing that can be injected."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.engines.profile import (
    MAX_VALUE_CHARS,
    LaunchProfile,
    ProfileError,
    load_profile,
    parse_launch,
    parse_profile,
    profile_names,
)
from evaluation.runners.local import LocalImages, NotLocalError
from evaluation.runners.port import InfrastructureFaultError

FILLED = {
    "model_dir": "/models",
    "model_name": "qwen",
    "host": "127.0.0.1",
    "port": "8000",
    "gpus": "1",
    "engines": "/p",
}


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_is_whole(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    arguments = parse_launch(f"profile:{name}").arguments(FILLED)
    assert "8000" in arguments
    assert "/models" in arguments
    assert not any("{" in part for part in arguments)


def test_the_engines_of_the_contract_have_one() -> None:
    assert {"vllm", "sglang", "transformers", "reference"} <= set(profile_names())


def test_parameters_become_arguments() -> None:
    launch = parse_launch("profile:vllm?enforce_eager=true&max_num_seqs=4&dtype=bfloat16")
    assert launch.arguments(FILLED)[-5:] == [
        "--enforce-eager",
        "--max-num-seqs",
        "4",
        "--dtype",
        "bfloat16",
    ]
    assert "--enforce-eager" not in parse_launch("profile:vllm?enforce_eager=false").arguments(
        FILLED
    )


def test_the_tensor_parallel_size_follows_the_gpus() -> None:
    launch = parse_launch("profile:vllm")
    assert "--tensor-parallel-size" not in launch.arguments(FILLED)
    eight = launch.arguments({**FILLED, "gpus": "8"})
    assert eight[eight.index("--tensor-parallel-size") + 1] == "8"


def test_a_launch_has_one_digest_however_it_is_spelled() -> None:
    one = parse_launch("profile:vllm?max_num_seqs=4&enforce_eager=true")
    other = parse_launch("profile:vllm?enforce_eager=true&max_num_seqs=4")
    assert one.digest() == other.digest()
    assert str(one) == str(other) == "profile:vllm?enforce_eager=true&max_num_seqs=4"
    assert one.digest() != parse_launch("profile:vllm").digest()


@pytest.mark.parametrize(
    "text",
    [
        "vllm",
        "profile:",
        "profile:../secret",
        "profile:nothing",
        "profile:vllm?unknown=1",
        "profile:vllm?enforce_eager=yes",
        "profile:vllm?max_num_seqs=many",
        "profile:vllm?max_num_seqs=4&max_num_seqs=5",
        "profile:vllm?quantization=--trust-remote-code",
        "profile:vllm?quantization=" + "x" * (MAX_VALUE_CHARS + 1),
        "profile:vllm?enforce_eager",
        "profile:vllm?" + "x" * 2_000,
    ],
)
def test_anything_else_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ProfileError) as refused:
        parse_launch(text)
    assert "\n" not in str(refused.value)


def test_a_profile_names_only_known_placeholders() -> None:
    text = 'name = "x"\nabout = ""\nprogram = ["x"]\narguments = ["{secret}"]\n'
    with pytest.raises(ProfileError, match="names secret in braces"):
        parse_profile(text)
    assert isinstance(parse_profile(text.replace("secret", "port")), LaunchProfile)


def test_only_the_named_variables_are_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret")
    monkeypatch.setenv("TMPDIR", "/tmp/engine")  # noqa: S108 - a name, nothing is written there
    images = LocalImages(tmp_path, model_name="qwen", engines={"vllm": "python3 -m vllm"})
    command = images.command(images.named("profile:vllm").digest)
    assert "SOME_API_KEY" not in command.environment
    assert command.environment["TMPDIR"] == "/tmp/engine"  # noqa: S108
    assert command.environment["HF_HUB_OFFLINE"] == "1"


def test_where_an_engine_lies_is_in_no_digest(tmp_path: Path) -> None:
    here = LocalImages(tmp_path, model_name="qwen", engines={"vllm": "python3 -m vllm"})
    there = LocalImages(tmp_path, model_name="qwen", engines={"vllm": "sh"})
    assert here.named("profile:vllm") == there.named("profile:vllm")
    assert "vllm" in here.command(here.named("profile:vllm").digest).argv


def test_an_engine_that_is_not_here_is_a_fault_of_ours(tmp_path: Path) -> None:
    images = LocalImages(tmp_path, model_name="qwen", engines={"vllm": "no-such-program"})
    image = images.named("profile:vllm")
    with pytest.raises(InfrastructureFaultError, match="--engine 'vllm=COMMAND'"):
        images.fingerprint(image.digest)


def test_a_folder_that_is_no_image_is_refused(tmp_path: Path) -> None:
    images = LocalImages(tmp_path, model_name="qwen")
    with pytest.raises(NotLocalError, match="nothing that runs as a process"):
        images.named(str(tmp_path))
