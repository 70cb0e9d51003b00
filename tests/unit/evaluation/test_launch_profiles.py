"""Launch profiles: data that names one way to start an engine, and nothing that can be injected."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from evaluation.engines import profile as profiles
from evaluation.engines.profile import (
    MAX_PROFILE_BYTES,
    MAX_VALUE_CHARS,
    Launch,
    LaunchProfile,
    ProfileError,
    load_profile,
    parse_launch,
    parse_profile,
    profile_names,
)
from evaluation.runners import local
from evaluation.runners.local import REMEMBERED_PORTS, LocalImages, NotLocalError
from evaluation.runners.port import InfrastructureFaultError
from ledger.codes import InfrastructureCause

FILLED = {
    "model_dir": "/models",
    "model_name": "qwen",
    "host": "127.0.0.1",
    "port": "8000",
    "gpus": "1",
    "engines": "/p",
    "profiles": "/own",
}
OWN = """
name = "mine"
about = "One of my own."
program = ["sh"]
arguments = ["{profiles}/serve.sh", "--port", "{port}"]
[environment]
CACHE = "{profiles}/cache"
"""


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


def test_a_parameter_may_be_a_variable() -> None:
    launch = parse_launch("profile:vllm?batch_invariant=true")
    assert launch.environment(FILLED)["VLLM_BATCH_INVARIANT"] == "1"
    assert launch.arguments(FILLED) == parse_launch("profile:vllm").arguments(FILLED)
    assert launch.digest() != parse_launch("profile:vllm").digest()
    off = parse_launch("profile:vllm?batch_invariant=false")
    assert "VLLM_BATCH_INVARIANT" not in off.environment(FILLED)


def test_a_parameters_variable_reaches_the_engine(tmp_path: Path) -> None:
    images = LocalImages(tmp_path, model_name="qwen", engines={"vllm": "sh"})
    image = images.named("profile:vllm?batch_invariant=true&kv_cache_memory_bytes=2G")
    command = images.command(image.digest)
    assert command.environment["VLLM_BATCH_INVARIANT"] == "1"
    assert list(command.argv[-2:]) == ["--kv-cache-memory-bytes", "2G"]


def test_what_an_engine_does_by_itself_can_be_switched_off() -> None:
    def arguments(query: str) -> list[str]:
        return [
            part
            for part in parse_launch(f"profile:vllm{query}").arguments(FILLED)
            if "async-scheduling" in part
        ]

    assert arguments("") == []
    assert arguments("?async_scheduling=true") == ["--async-scheduling"]
    assert arguments("?async_scheduling=false") == ["--no-async-scheduling"]


def test_only_a_switch_can_be_off() -> None:
    text = OWN + '[parameters.size]\nkind = "integer"\noff_arguments = ["--no-size"]\n'
    with pytest.raises(ProfileError, match="'size' of 'mine' is no switch"):
        parse_profile(text)


EXTENDING = """
name = "mine"
extends = "vllm"
about = "vLLM, told more."
program = ["mine"]
[environment]
MINE = "1"
VLLM_NO_USAGE_STATS = "0"
[parameters.max_num_seqs]
kind = "integer"
arguments = ["--seqs", "{value}"]
[parameters.more]
kind = "switch"
arguments = ["--more"]
"""


def test_a_profile_may_build_upon_a_shipped_one() -> None:
    shipped, own = load_profile("vllm"), parse_profile(EXTENDING)
    assert (own.name, own.about, own.program) == ("mine", "vLLM, told more.", ("mine",))
    assert own.arguments == shipped.arguments
    assert own.hands_on == shipped.hands_on
    assert own.environment == {**shipped.environment, "MINE": "1", "VLLM_NO_USAGE_STATS": "0"}
    assert list(own.parameters) == [*shipped.parameters, "more"]
    assert own.parameters["max_num_seqs"].arguments == ("--seqs", "{value}")
    assert own.parameters["enforce_eager"] == shipped.parameters["enforce_eager"]


def test_what_a_profile_builds_upon_is_in_its_digest_only_by_what_it_comes_to() -> None:
    own = parse_profile(EXTENDING.replace('program = ["mine"]\n', ""))
    same = msgspec.structs.replace(load_profile("vllm"), name="mine", environment=own.environment)
    assert Launch(profile=own, values={}).digest() == Launch(profile=same, values={}).digest()


@pytest.mark.parametrize("base", ['"mine"', '"../vllm"', "3", '["vllm"]', '{ name = "vllm" }'])
def test_only_a_shipped_profile_is_built_upon(base: str) -> None:
    with pytest.raises(
        ProfileError, match=r"extends .*does not ship; those are: .*vllm"
    ) as refused:
        parse_profile(EXTENDING.replace('"vllm"', base, 1))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "more",
    [
        'environment = "none"\n',
        "parameters = [1]\n",
        "a" + ".a" * 20_000 + " = 1\n",
        "a = " + "[" * 20_000 + "]" * 20_000 + "\n",
        "a = " + "{a=" * 5_000 + "\n",
        "a = " + "1" * 60_000 + "\n",
    ],
    ids=["text", "array", "dotted", "arrays", "tables", "number"],
)
def test_what_does_not_fit_is_refused_whatever_it_builds_upon(more: str) -> None:
    for begin in ('name = "mine"\nabout = "Mine."\n', ""):
        with pytest.raises(ProfileError, match="the launch profile does not fit: "):
            parse_profile(begin + 'extends = "vllm"\n' + more)


def test_neither_name_nor_words_are_taken_over() -> None:
    with pytest.raises(ProfileError, match="about"):
        parse_profile(EXTENDING.replace('about = "vLLM, told more."\n', ""))


@pytest.mark.parametrize("name", profile_names())
def test_no_shipped_profile_builds_upon_another(name: str) -> None:
    text = (Path(profiles.__file__).parent / "profiles" / f"{name}.toml").read_text("utf-8")
    assert "extends" not in tomllib.loads(text)


def test_a_digest_is_of_what_is_run_and_of_no_words_about_it() -> None:
    before = Launch(profile=parse_profile(OWN), values={})
    more = OWN.replace("One of my own.", "Mine.") + '[parameters.size]\nkind = "integer"\n'
    more += 'arguments = ["--size", "{value}"]\n'
    after = Launch(profile=parse_profile(more), values={})
    assert after.digest() == before.digest()
    assert Launch(profile=after.profile, values={"size": "4"}).digest() != before.digest()
    other = parse_profile(OWN.replace("serve.sh", "other.sh"))
    assert Launch(profile=other, values={}).digest() != before.digest()
    # A value that is the default anyway is the same launch.
    asked = parse_launch("profile:reference?engine=recompute")
    assert asked.digest() == parse_launch("profile:reference").digest()


@pytest.mark.parametrize("name", ["vllm", "sglang", "transformers", "transformers-adapted"])
def test_a_ban_of_nvlink_multicast_reaches_every_engine_of_gpus(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ban = {
        "NCCL_NVLS_ENABLE": "0",
        "TORCH_SYMM_MEM_DISABLE_MULTICAST": "1",
        "NVSHMEM_DISABLE_NVLS": "1",
        "LD_LIBRARY_PATH": "/driver",
    }
    for variable, value in ban.items():
        monkeypatch.setenv(variable, value)
    images = LocalImages(tmp_path, model_name="qwen", engines={name: "sh"})
    command = images.command(images.named(f"profile:{name}").digest)
    assert ban.items() <= command.environment.items()


def test_profiles_of_ones_own_stand_beside_the_shipped_ones(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(OWN, encoding="utf-8")
    (tmp_path / "serve.sh").write_text("", encoding="utf-8")
    assert set(profile_names(tmp_path)) == {*profile_names(), "mine"}
    assert parse_launch("profile:mine", tmp_path).arguments(FILLED)[0] == "/own/serve.sh"
    images = LocalImages(tmp_path, model_name="qwen", profiles=tmp_path)
    command = images.command(images.named("profile:mine").digest)
    assert command.argv[1] == str(tmp_path / "serve.sh")
    assert command.environment["CACHE"] == str(tmp_path / "cache")
    assert images.named("profile:vllm")
    with pytest.raises(NotLocalError, match="there is no launch profile 'mine'"):
        LocalImages(tmp_path, model_name="qwen").named("profile:mine")


def test_where_ones_own_profiles_lie_is_in_no_digest(tmp_path: Path) -> None:
    digests = set()
    for folder in (tmp_path / "here", tmp_path / "there"):
        folder.mkdir()
        (folder / "mine.toml").write_text(OWN, encoding="utf-8")
        digests.add(parse_launch("profile:mine", folder).digest())
    assert len(digests) == 1


def test_a_profile_of_ones_own_cannot_take_the_name_of_a_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "vllm.toml").write_text(OWN.replace("mine", "vllm"), encoding="utf-8")
    with pytest.raises(ProfileError, match=r"'vllm' in .* has the name of one that ships"):
        LocalImages(tmp_path, model_name="qwen", profiles=tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (OWN.replace("mine", "yours").encode(), "calls itself 'yours', not 'mine'"),
        (OWN.encode() + b"#" * MAX_PROFILE_BYTES, f"is larger than {MAX_PROFILE_BYTES} bytes"),
        (OWN.encode() + b"\xff", "is not UTF-8 text"),
        (b"name = ", r"/mine.toml': the launch profile does not fit"),
        (OWN.replace("{port}", "{ports}").encode(), r"/mine.toml': .* names ports in braces"),
    ],
)
def test_a_file_that_is_no_profile_is_refused(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(content)
    with pytest.raises(ProfileError, match=told):
        parse_launch("profile:mine", tmp_path)


def test_a_name_that_no_launch_could_have_is_told(tmp_path: Path) -> None:
    (tmp_path / "Mine.toml").write_text(OWN.replace("mine", "Mine"), encoding="utf-8")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ProfileError, match="cannot be called 'Mine'"):
        parse_launch("profile:Mine", tmp_path)
    with pytest.raises(ProfileError, match="cannot be read: Is a directory"):
        parse_launch("profile:folder", tmp_path)


def test_a_folder_of_profiles_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="cannot be read: No such file"):
        LocalImages(tmp_path, model_name="qwen", profiles=tmp_path / "nowhere")


def test_no_two_recent_launches_are_told_the_same_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert REMEMBERED_PORTS == 256
    images = LocalImages(tmp_path, model_name="qwen", engines={"vllm": "sh"})
    digest = images.named("profile:vllm").digest
    # What the system says is free, of servers none of which listens yet.
    free = iter([5_001, 5_001, 5_002, *range(6_000, 6_255), 5_001])
    monkeypatch.setattr(local, "free_port", lambda: next(free))
    assert [images.command(digest).port for _ in range(2)] == [5_001, 5_002]
    told = [images.command(digest).port for _ in range(255)]
    assert told == [*range(6_000, 6_255)]
    assert images.command(digest).port == 5_001  # forgotten by now


@pytest.mark.parametrize("error", [None, OSError(98, "Address already in use")])
def test_a_machine_without_a_free_port_is_a_fault_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError | None
) -> None:
    images = LocalImages(tmp_path, model_name="qwen", engines={"vllm": "sh"})
    digest = images.named("profile:vllm").digest
    images.command(digest)

    def the_same() -> int:
        if error is not None:
            raise error
        return 5_001

    monkeypatch.setattr(local, "free_port", the_same)
    if error is None:
        images.command(digest)
    with pytest.raises(
        InfrastructureFaultError, match=r"no port of 127\.0\.0\.1 is free"
    ) as caught:
        images.command(digest)
    assert caught.value.cause is InfrastructureCause.HOST_FAILED
