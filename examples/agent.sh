#!/usr/bin/env bash
# An agent of fifteen lines: takes a job, does it, reports it, and is handed the next in the answer.
api() { curl -fsS -m 60 --retry 9 --retry-connrefused -H "Authorization: Bearer $AGENT_KEY" \
  -H 'Content-Type: application/json' "${YARD_URL:-http://127.0.0.1:8000}/api/$1" "${@:2}"; }
first() { python3 -c 'import json, sys
for one in json.loads(sys.stdin.read() or "{}").get("work", [])[:1]:
    print(one["execution_id"], one["job"]["id"], one["lease"]["token"], one["job"]["title"])'; }
while sleep 1; do
  answer=$(api "agents/$AGENT_ID/leases")                                    # what it holds, or
  [[ $answer == *token* ]] || answer=$(api "agents/$AGENT_ID/work?wait=30")  # the first to come
  while read -r execution job token title < <(first <<< "$answer"); do
    echo "Working on: $title"                                                # your work goes here
    answer=$(api "executions/$execution/events?next=1" -d '{"type": "completed", "job_id":
      "'"$job"'", "token": "'"$token"'", "output": {"done_by": "a shell"}}')
  done; done
