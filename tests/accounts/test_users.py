"""People: one address each, passwords that are no text, and always an admin left."""

from __future__ import annotations

import threading
import time

import pytest

from app.accounts import passwords, users
from app.accounts.models import User
from app.db import Database
from app.errors import Invalid, Refused, TaskyardError, Unauthenticated
from tests.fresh import SYSTEM, Key, People

PASSWORD = "correct horse battery"


def make(database: Database, email: str, role: str = "member", password: str | None = None) -> User:
    hashed = passwords.hash_password(password) if password else None
    with database.transaction() as tx:
        return users.create(tx, SYSTEM, email=email, role=role, password_hash=hashed)


def test_an_address_has_one_user_however_it_is_written(database: Database) -> None:
    make(database, "Ann@Example.org")
    with pytest.raises(Refused, match="already"):
        make(database, " ann@example.ORG ")
    with database.transaction() as tx:
        found = users.find(tx, "ANN@example.org")
        assert found is not None
        assert found.email == "Ann@Example.org"


@pytest.mark.parametrize(
    "email", ["", "ann", "ann@", "@example.org", "a b@example.org", "a@b@c", "a\r\n@b", "a\x1b@b"]
)
def test_what_is_no_address_is_refused(database: Database, email: str) -> None:
    with pytest.raises(Invalid) as refusal:
        make(database, email)
    assert refusal.value.faults[0].pointer == "/email"


def test_two_at_once_with_one_address_make_one_user(database: Database) -> None:
    barrier = threading.Barrier(4)
    outcomes: list[str] = []

    def create() -> None:
        barrier.wait()
        try:
            make(database, "twin@example.org")
            outcomes.append("made")
        except Refused:
            outcomes.append("refused")

    run_together(create, 4)
    assert sorted(outcomes) == ["made", "refused", "refused", "refused"]


def test_a_password_is_kept_as_argon2id_and_fits(database: Database) -> None:
    user = make(database, "ann@example.org", password=PASSWORD)
    assert user.password_hash is not None
    assert user.password_hash.startswith("$argon2id$")
    assert PASSWORD not in user.password_hash
    assert users.check_password(user, PASSWORD) is user


def test_one_sentence_for_every_failed_sign_in(database: Database) -> None:
    """Nobody learns which addresses have an account, nor from the time that it takes."""
    ann = make(database, "ann@example.org", password=PASSWORD)
    gone = make(database, "gone@example.org", password=PASSWORD)
    gone.active = False
    linked = make(database, "link@example.org")
    passwords.fits("warm up", None)
    sentences, times = set(), []
    for user in (ann, gone, linked, None):
        began = time.perf_counter()
        with pytest.raises(Unauthenticated) as refusal:
            users.check_password(user, "wrong " + PASSWORD if user is not gone else PASSWORD)
        times.append(time.perf_counter() - began)
        sentences.add(refusal.value.detail)
    assert len(sentences) == 1
    assert min(times) > max(times) / 5, times


def test_a_short_or_endless_password_is_refused() -> None:
    for password in ("", "short", "x" * 1025):
        with pytest.raises(Invalid):
            passwords.hash_password(password)
    assert not passwords.fits("x" * 100_000_000, None)


def test_the_last_admin_stays(database: Database, people: People) -> None:
    only = people.user("admin")
    with database.transaction() as tx, pytest.raises(Refused, match="last active admin"):
        users.change_role(tx, SYSTEM, users.get(tx, only.id), "member")
    with database.transaction() as tx, pytest.raises(Refused, match="last active admin"):
        users.deactivate(tx, SYSTEM, users.get(tx, only.id))
    other = people.user("admin")
    with database.transaction() as tx:
        users.deactivate(tx, SYSTEM, users.get(tx, only.id))
    with database.transaction() as tx, pytest.raises(Refused, match="last active admin"):
        users.deactivate(tx, SYSTEM, users.get(tx, other.id))


def test_admins_who_demote_each_other_at_once_leave_one(database: Database, people: People) -> None:
    for _ in range(10):
        pair = [people.user("admin"), people.user("admin")]
        barrier = threading.Barrier(2)
        waiting = iter(pair)

        def demote(waiting: object = waiting, barrier: threading.Barrier = barrier) -> None:
            key: Key = next(waiting)  # type: ignore[call-overload]
            with database.transaction() as tx:
                user = users.get(tx, key.id)
                barrier.wait()
                try:
                    users.change_role(tx, SYSTEM, user, "member")
                except TaskyardError:
                    return

        run_together(demote, 2)
        with database.transaction() as tx:
            left = tx.fetch("SELECT count(*) AS n FROM users WHERE role = 'admin' AND active")
            assert left["n"] == 1
            tx.execute("UPDATE users SET role = 'member'")


def run_together(work: object, count: int) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]  # type: ignore[arg-type]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
