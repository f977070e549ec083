"""`python -m migrations.first`: writes the first migration anew from the models.

Until the first release. After that, a script that has run somewhere must never change, and this
file goes.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import flask_migrate

from app import create_app
from app.embedded import DataFolder, Postgres
from app.embedded.account import servers_account
from app.settings import load

REVISION: Final = "0001"
VERSIONS: Final = Path(__file__).parent / "versions"

APPEND_ONLY: Final = '''

APPEND_ONLY = ("audit_entries", "execution_events")


def keep_append_only() -> None:
    """A log that can be changed proves nothing. Deleting stays possible: retention needs it."""
    op.execute(
        """
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% is append-only', TG_TABLE_NAME
                USING ERRCODE = 'restrict_violation';
        END $$
        """
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def drop_append_only() -> None:
    for table in APPEND_ONLY:
        op.execute(f"DROP TRIGGER {table}_append_only ON {table}")
    op.execute("DROP FUNCTION refuse_change()")
'''


def write() -> Path:
    """Compare the models with an empty database, and keep the difference."""
    for old in VERSIONS.glob(f"{REVISION}_*.py"):
        old.unlink()
    with ExitStack() as stack:
        path = Path(tempfile.mkdtemp(prefix="taskyard-first-"))
        path.chmod(0o711)
        stack.callback(shutil.rmtree, path, ignore_errors=True)
        folder = DataFolder(path)
        folder.hold()
        stack.callback(folder.let_go)
        sockets = folder.open_sockets(servers_account())
        stack.callback(folder.close_sockets, sockets)
        postgres = Postgres(folder.postgres, sockets, fast=True)
        stack.callback(postgres.stop)
        postgres.start()
        app = create_app(
            load(
                {
                    "DATABASE_URL": postgres.url,
                    "REDIS_URL": "redis://127.0.0.1:1",
                    "SECRET_KEY": "used for nothing but to start",
                    "TASKYARD_DATA": str(path),
                }
            )
        )
        with app.app_context():
            flask_migrate.migrate(message="foundation", rev_id=REVISION)
    written = next(VERSIONS.glob(f"{REVISION}_*.py"))
    text = written.read_text()
    text = text.replace(
        "\n\ndef downgrade() -> None:\n",
        "\n    keep_append_only()\n\n\ndef downgrade() -> None:\n    drop_append_only()\n",
        1,
    )
    written.write_text(text.rstrip() + "\n" + APPEND_ONLY)
    return written


if __name__ == "__main__":
    sys.stdout.write(f"{write()}\n")
