"""Who may: the table of the domain, cell by cell. Pure."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from app.accounts import policy
from app.accounts.policy import Caller, Standing, on_the_machine
from app.errors import Forbidden

MEMBER = Caller("user", uuid.UUID(int=1), "member")
OPERATOR = Caller("user", uuid.UUID(int=2), "operator")
ADMIN = Caller("user", uuid.UUID(int=3), "admin")
AGENT = Caller("agent", uuid.UUID(int=4))
SYSTEM = on_the_machine("ann")

NOTHING = Standing()
OWNS = Standing(owns=True)
VIEWS = Standing(shared="view")
STEERS = Standing(shared="steer")
HELD = Standing(held=True)


@pytest.mark.parametrize(
    ("caller", "standing", "sees", "steers"),
    [
        (MEMBER, NOTHING, False, False),
        (MEMBER, OWNS, True, True),
        (MEMBER, VIEWS, True, False),
        (MEMBER, STEERS, True, True),
        (OPERATOR, NOTHING, True, True),
        (ADMIN, NOTHING, True, True),
        (AGENT, NOTHING, False, False),
        (AGENT, HELD, True, False),
        (AGENT, OWNS, False, False),
        (AGENT, STEERS, False, False),
    ],
)
def test_who_sees_and_steers(caller: Caller, standing: Standing, sees: bool, steers: bool) -> None:
    assert policy.may_see(caller, standing) is sees
    assert policy.may_steer(caller, standing) is steers


@pytest.mark.parametrize(
    ("approvers", "allowed"),
    [
        ("admin", {("admin", False), ("admin", True)}),
        (
            "operator",
            {("admin", False), ("admin", True), ("operator", False), ("operator", True)},
        ),
        ("owner", {("admin", False), ("admin", True), ("member", True), ("operator", True)}),
    ],
)
def test_who_decides_approvals(approvers: Any, allowed: set[tuple[str, bool]]) -> None:
    for caller in (MEMBER, OPERATOR, ADMIN):
        for owns in (False, True):
            expected = (caller.role, owns) in allowed
            standing = Standing(owns=owns, shared="steer" if not owns else "")
            assert policy.may_decide(caller, "approval", standing, approvers) is expected


@pytest.mark.parametrize("kind", ["approval", "question", "blocker", "escalation", "info"])
@pytest.mark.parametrize("approvers", ["admin", "operator", "owner"])
def test_an_agent_never_decides(kind: str, approvers: Any) -> None:
    for standing in (NOTHING, OWNS, STEERS, HELD):
        assert not policy.may_decide(AGENT, kind, standing, approvers)


def test_questions_are_for_whoever_steers() -> None:
    assert policy.may_decide(MEMBER, "question", OWNS, "admin")
    assert policy.may_decide(OPERATOR, "escalation", NOTHING, "admin")
    assert not policy.may_decide(MEMBER, "blocker", VIEWS, "admin")


def test_what_comes_with_a_role() -> None:
    for verdict in (policy.may_register_agents, policy.may_drain, policy.may_start_commands):
        assert [verdict(one) for one in (MEMBER, OPERATOR, ADMIN, AGENT)] == [
            False,
            True,
            True,
            False,
        ]
    assert [policy.may_administer(one) for one in (MEMBER, OPERATOR, ADMIN, AGENT, SYSTEM)] == [
        False,
        False,
        True,
        False,
        True,
    ]


def test_an_agent_sees_itself_and_no_other() -> None:
    assert policy.may_see_agent(AGENT, AGENT.id)
    assert not policy.may_see_agent(AGENT, ADMIN.id)
    assert policy.may_see_agent(MEMBER, AGENT.id)


def test_only_owner_and_admin_share() -> None:
    assert policy.may_share(MEMBER, OWNS)
    assert policy.may_share(ADMIN, NOTHING)
    assert not policy.may_share(OPERATOR, NOTHING)
    assert not policy.may_share(MEMBER, STEERS)
    assert not policy.may_share(AGENT, OWNS)


def test_a_refusal_is_one_sentence_with_a_hint() -> None:
    with pytest.raises(Forbidden) as refusal:
        policy.require_admin(OPERATOR)
    assert refusal.value.detail == "Only an admin may do this."
    assert refusal.value.hint
