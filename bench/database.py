"""A PostgreSQL alone, durable and tuned as the product starts it: for the yardsticks by themselves
and for the peers."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from app.embedded import DataFolder, Postgres
from app.embedded.account import servers_account


def throw_away_folder(stack: ExitStack) -> Path:
    place = stack.enter_context(tempfile.TemporaryDirectory(prefix="taskyard-bench-"))
    # Root's servers run as another account, which must get through.
    Path(place).chmod(0o711)
    return Path(place)


@contextmanager
def postgres_alone() -> Iterator[Postgres]:
    with ExitStack() as stack:
        folder = DataFolder(throw_away_folder(stack) / "data")
        folder.hold()
        stack.callback(folder.let_go)
        sockets = folder.open_sockets(servers_account())
        stack.callback(folder.close_sockets, sockets)
        postgres = Postgres(folder.postgres, sockets)
        stack.callback(postgres.stop)
        postgres.start()
        yield postgres
