"""Who calls: keys, tokens, JWTs, sessions; and what opens nothing."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask, request
from flask.testing import FlaskClient

from app import create_app
from app.accounts import jwt, passwords, tokens, users
from app.api import sessions
from app.api.callers import SESSION_KEY
from app.db import Database
from app.settings import Settings
from tests.fresh import SYSTEM, Key, People, empty

PASSWORD = "correct horse battery"
ME = "/api/auth/me"


@pytest.fixture(scope="module")
def doors(migrated: Settings) -> Iterator[Flask]:
    """An app with doors for signing in and out, as the pages will have them."""
    app = create_app(replace(migrated, rate_limits=False, public_url="https://taskyard.example"))

    @app.post("/test/sign-in")
    def sign_in() -> str:
        sessions.sign_in(uuid.UUID(request.get_data(as_text=True)))
        return ""

    @app.post("/test/sign-out")
    def sign_out() -> str:
        sessions.sign_out()
        return ""

    app.config["WTF_CSRF_SSL_STRICT"] = False  # the test client sends no referrer
    yield app
    app.extensions["taskyard.db"].engine.dispose()


@pytest.fixture
def browser(doors: Flask) -> FlaskClient:
    empty(doors.extensions["taskyard.db"])
    return doors.test_client()


@pytest.fixture
def insiders(browser: FlaskClient, doors: Flask) -> People:
    return People(browser, doors.extensions["taskyard.db"])


def cookie(browser: FlaskClient) -> str:
    found = browser.get_cookie("taskyard")
    assert found is not None
    return found.value


def test_a_personal_token_names_its_user(member: Key) -> None:
    answer = member.get(ME)
    assert answer.status_code == 200
    assert answer.json == {"kind": "user", "id": str(member.id), "name": "member", "role": "member"}


def test_an_agents_key_names_its_agent(people: People) -> None:
    agent = people.agent("Ann")
    assert agent.get(ME).json == {"kind": "agent", "id": str(agent.id), "name": "Ann", "role": ""}


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "bearer ty_u_unknown",
        "Bearer ty_a_unknown",
        "Bearer ty_s_unknown",
        "Bearer \xff\xfe",
        "Bearer a b",
        "Bearer eyJhbGciOiJub25lIn0.e30.",
    ],
)
def test_what_opens_nothing_is_told_how_to_ask(client: FlaskClient, header: str | None) -> None:
    answer = client.get(ME, headers={} if header is None else {"Authorization": header})
    assert answer.status_code == 401
    assert answer.mimetype == "application/problem+json"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.json is not None
    assert "Authorization: Bearer" in answer.json["hint"]


def test_a_key_is_never_accepted_in_a_query_string(member: Key, client: FlaskClient) -> None:
    for name in ("key", "token", "api_key", "access_token", "authorization"):
        assert client.get(ME, query_string={name: member.text}).status_code == 401
        assert client.get(ME, query_string={name: f"Bearer {member.text}"}).status_code == 401


def test_a_revoked_key_is_refused_at_once(member: Key, database: Database) -> None:
    assert member.get(ME).status_code == 200
    with database.transaction() as tx:
        tokens.revoke(tx, tokens.get(tx, member.token_id))
    assert member.get(ME).status_code == 401


def test_a_demotion_works_at_once(admin: Key, people: People, database: Database) -> None:
    people.user("admin")
    assert admin.get("/api/admin/users").status_code == 200
    with database.transaction() as tx:
        users.change_role(tx, SYSTEM, users.get(tx, admin.id), "operator")
    answer = admin.get("/api/admin/users")
    assert answer.status_code == 403
    assert answer.json is not None
    assert answer.json["detail"] == "Only an admin may do this."


def test_a_password_and_a_token_buy_a_jwt(client: FlaskClient, people: People) -> None:
    ann = people.user("operator", "ann@example.org", passwords.hash_password(PASSWORD))
    for credentials in (
        {"email": "Ann@example.org", "password": PASSWORD},
        {"token": ann.text},
    ):
        answer = client.post("/api/auth/token", json=credentials)
        assert answer.status_code == 200
        assert answer.json is not None
        assert answer.json["expires_in"] == 900
        bearer = {"Authorization": f"Bearer {answer.json['access_token']}"}
        found = client.get(ME, headers=bearer)
        assert found.json is not None
        assert found.json["id"] == str(ann.id)


@pytest.mark.parametrize(
    ("credentials", "status"),
    [
        ({}, 422),
        ({"email": "ann@example.org"}, 422),
        ({"email": "ann@example.org", "password": PASSWORD, "token": "ty_u_x"}, 422),
        ({"email": "ann@example.org", "password": "wrong"}, 401),
        ({"email": "nobody@example.org", "password": PASSWORD}, 401),
        ({"token": "ty_u_unknown"}, 401),
        ({"token": "rubbish"}, 401),
        ({"user": "ann@example.org"}, 422),
    ],
)
def test_anything_else_buys_none(
    client: FlaskClient, people: People, credentials: dict[str, str], status: int
) -> None:
    people.user("operator", "ann@example.org", passwords.hash_password(PASSWORD))
    assert client.post("/api/auth/token", json=credentials).status_code == status


def test_an_agents_key_or_a_jwt_buys_no_jwt(client: FlaskClient, people: People) -> None:
    ann = people.user("member")
    answer = client.post("/api/auth/token", json={"token": ann.text})
    assert answer.json is not None
    for token in (people.agent().text, answer.json["access_token"]):
        assert client.post("/api/auth/token", json={"token": token}).status_code in (401, 422)


def test_a_jwt_dies_with_its_user(client: FlaskClient, people: People, database: Database) -> None:
    ann = people.user("operator")
    answer = client.post("/api/auth/token", json={"token": ann.text})
    assert answer.json is not None
    bearer = {"Authorization": f"Bearer {answer.json['access_token']}"}
    assert client.get(ME, headers=bearer).status_code == 200
    with database.transaction() as tx:
        users.deactivate(tx, SYSTEM, users.get(tx, ann.id))
    assert client.get(ME, headers=bearer).status_code == 401


def test_a_jwt_expires(client: FlaskClient, people: People, database: Database) -> None:
    answer = client.post("/api/auth/token", json={"token": people.user("member").text})
    assert answer.json is not None
    bearer = {"Authorization": f"Bearer {answer.json['access_token']}"}
    database.shift = jwt.LIFETIME + dt.timedelta(seconds=1)
    try:
        assert client.get(ME, headers=bearer).status_code == 401
    finally:
        database.shift = dt.timedelta(0)


def test_a_session_names_its_user_and_its_cookie_is_guarded(
    browser: FlaskClient, insiders: People
) -> None:
    ann = insiders.user("member")
    answer = browser.post("/test/sign-in", data=str(ann.id))
    written = answer.headers["Set-Cookie"]
    for guard in ("HttpOnly", "Secure", "SameSite=Lax", "Path=/"):
        assert guard in written
    found = browser.get(ME, base_url="https://localhost")
    assert found.json is not None
    assert found.json["id"] == str(ann.id)


def test_the_session_changes_at_sign_in(browser: FlaskClient, insiders: People) -> None:
    """A cookie that somebody planted before is worth nothing after."""
    ann = insiders.user("member")
    browser.post("/test/sign-in", data=str(ann.id), base_url="https://localhost")
    planted = cookie(browser)
    browser.delete_cookie("taskyard")
    browser.post("/test/sign-in", data=str(ann.id), base_url="https://localhost")
    assert cookie(browser) != planted


@pytest.mark.parametrize("how", ["signs out", "is deactivated", "gets a new password"])
def test_a_stolen_cookie_is_worth_nothing_once_its_owner(
    browser: FlaskClient, insiders: People, how: str
) -> None:
    ann = insiders.user("member")
    browser.post("/test/sign-in", data=str(ann.id), base_url="https://localhost")
    stolen = cookie(browser)
    thief = browser.application.test_client()
    thief.set_cookie("taskyard", stolen)
    assert thief.get(ME).status_code == 200
    if how == "signs out":
        with browser.session_transaction(base_url="https://localhost") as kept:
            key = kept[SESSION_KEY]
        with browser.application.test_request_context():
            from flask import session

            session[SESSION_KEY] = key
            sessions.sign_out()
    else:
        with insiders.database.transaction() as tx:
            user = users.get(tx, ann.id)
            if how == "is deactivated":
                users.deactivate(tx, SYSTEM, user)
            else:
                users.set_password(tx, SYSTEM, user, "a hash")
    assert thief.get(ME).status_code == 401


def test_the_key_of_a_session_is_no_bearer_and_a_token_is_no_session(
    browser: FlaskClient, insiders: People
) -> None:
    ann = insiders.user("member")
    browser.post("/test/sign-in", data=str(ann.id), base_url="https://localhost")
    with browser.session_transaction(base_url="https://localhost") as kept:
        key = kept[SESSION_KEY]
    other = browser.application.test_client()
    assert other.get(ME, headers={"Authorization": f"Bearer {key}"}).status_code == 401
    with other.session_transaction() as forged:
        forged[SESSION_KEY] = ann.text
    assert other.get(ME).status_code == 401


def test_a_bad_bearer_does_not_fall_back_to_the_session(
    browser: FlaskClient, insiders: People
) -> None:
    ann = insiders.user("member")
    browser.post("/test/sign-in", data=str(ann.id), base_url="https://localhost")
    answer = browser.get(
        ME, headers={"Authorization": "Bearer nonsense"}, base_url="https://localhost"
    )
    assert answer.status_code == 401


def changes(app: Flask) -> list[tuple[str, str]]:
    """Every method and address that changes something, with something in its variable parts."""
    found = []
    for rule in app.url_map.iter_rules():
        values = dict.fromkeys(rule.arguments, "00000000-0000-7000-8000-000000000000")
        path = rule.rule
        for name, value in values.items():
            for written in (f"<uuid:{name}>", f"<{name}>", f"<path:{name}>", f"<int:{name}>"):
                path = path.replace(written, "1" if written.startswith("<int") else value)
        for method in sorted((rule.methods or set()) & {"POST", "PUT", "PATCH", "DELETE"}):
            found.append((method, path))
    return found


@pytest.mark.parametrize("htmx", [False, True])
def test_every_change_by_cookie_needs_its_proof(
    browser: FlaskClient, insiders: People, htmx: bool
) -> None:
    """Walks the URL map, so that no door can be forgotten."""
    boss = insiders.user("admin")
    browser.post("/test/sign-in", data=str(boss.id), base_url="https://localhost")
    walked = changes(browser.application)
    assert len(walked) > 8
    for method, path in walked:
        answer = browser.open(
            path,
            method=method,
            json={},
            base_url="https://localhost",
            headers={"HX-Request": "true"} if htmx else {},
        )
        assert answer.status_code == 403, (method, path, answer.text)
        assert answer.json is not None
        assert "X-CSRFToken" in answer.json["hint"]


def test_the_right_proof_lets_a_change_pass_and_a_wrong_one_does_not(
    browser: FlaskClient, insiders: People
) -> None:
    from flask import session
    from flask_wtf.csrf import generate_csrf

    boss = insiders.user("admin")
    app = browser.application
    browser.post("/test/sign-in", data=str(boss.id), base_url="https://localhost")
    with browser.session_transaction(base_url="https://localhost") as kept:
        kept["csrf_token"] = "seed"
        key = kept[SESSION_KEY]
    with app.test_request_context():
        session["csrf_token"] = "seed"
        proof = generate_csrf()
    wanted = {"email": "new@example.org"}
    for told, status in ((proof, 201), (proof[:-1] + "x", 403), ("", 403)):
        answer = browser.post(
            "/api/admin/users",
            json=wanted,
            headers={"X-CSRFToken": told},
            base_url="https://localhost",
        )
        assert answer.status_code == status, answer.text
    # Whoever brings a key of their own brings no cookie's danger.
    assert key
    assert boss.post("/api/admin/users", {"email": "other@example.org"}).status_code == 201


def test_no_get_changes_anything_but_the_claims_of_agents(app: Flask) -> None:
    with_get = {
        rule.rule for rule in app.url_map.iter_rules() if {"GET", "POST"} <= (rule.methods or set())
    }
    assert with_get <= {"/api/agents/<uuid:agent_id>/work"}
