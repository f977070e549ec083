"""Who calls: keys, tokens, JWTs, sessions; and what opens nothing."""

from __future__ import annotations

from tests.fresh import Key, People


def test_a_personal_token_names_its_user(member: Key) -> None:
    answer = member.get("/api/auth/me")
    assert answer.status_code == 200
    assert answer.json == {"kind": "user", "id": str(member.id), "name": "member", "role": "member"}


def test_an_agents_key_names_its_agent(people: People) -> None:
    agent = people.agent("Ann")
    assert agent.get("/api/auth/me").json == {
        "kind": "agent",
        "id": str(agent.id),
        "name": "Ann",
        "role": "",
    }
