"""One process of yardstick D: claims and completes jobs as two bare, durable, prepared transactions
over several connections. Reads its orders on stdin, writes how many pairs it did on stdout."""

import json
import sys
from threading import Barrier, Thread
from time import perf_counter

import psycopg

TABLES = """
DROP SCHEMA IF EXISTS bench CASCADE;
CREATE SCHEMA bench;
CREATE TABLE bench.job (
    id bigint PRIMARY KEY, lane text NOT NULL, rank int NOT NULL, status text NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX job_ready ON bench.job (lane, rank DESC, id) WHERE status = 'ready';
CREATE TABLE bench.lease (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), job bigint NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT now(), ended_at timestamptz
);
CREATE TABLE bench.event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, job bigint NOT NULL, type text NOT NULL,
    data jsonb NOT NULL, recorded_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO bench.job SELECT n, 'bench', 0, 'ready' FROM generate_series(1, %s) n;
"""

CLAIM = """
WITH picked AS (
    SELECT id FROM bench.job WHERE status = 'ready' AND lane = 'bench'
    ORDER BY rank DESC, id LIMIT 1 FOR UPDATE SKIP LOCKED
), moved AS (
    UPDATE bench.job SET status = 'leased' FROM picked
    WHERE job.id = picked.id AND job.status = 'ready' RETURNING job.id
), leased AS (
    INSERT INTO bench.lease (job) SELECT id FROM moved RETURNING id, job
), told AS (
    INSERT INTO bench.event (job, type, data) SELECT id, 'job_leased', '{"attempt": 1}' FROM moved
)
SELECT job, id FROM leased
"""

COMPLETE = """
WITH ended AS (
    UPDATE bench.lease SET ended_at = now() WHERE id = %s AND ended_at IS NULL RETURNING job
), moved AS (
    UPDATE bench.job SET status = 'completed' FROM ended
    WHERE job.id = ended.job AND job.status = 'leased' RETURNING job.id
)
INSERT INTO bench.event (job, type, data)
SELECT id, 'job_completed', '{"output": {"summary": "Looked it up and wrote it down."}}' FROM moved
"""


def prepare(url: str, jobs: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(TABLES % jobs)
        connection.execute("VACUUM ANALYZE bench.job")


def remove(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS bench CASCADE")


def measure(url: str, connections: int, warmup: float, seconds: float) -> int:
    pairs = [0] * connections
    together = Barrier(connections)

    def repeat(place: int) -> None:
        with psycopg.connect(url, autocommit=True, prepare_threshold=0) as connection:
            cursor = connection.cursor()
            together.wait(30)
            since = perf_counter() + warmup
            until = since + seconds
            while (now := perf_counter()) < until:
                row = cursor.execute(CLAIM).fetchone()
                if row is None:
                    continue
                if cursor.execute(COMPLETE, (row[1],)).rowcount == 1 and now >= since:
                    pairs[place] += 1

    threads = [Thread(target=repeat, args=(place,)) for place in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(pairs)


if __name__ == "__main__":
    order = json.load(sys.stdin)
    json.dump(
        measure(order["url"], order["connections"], order["warmup"], order["seconds"]), sys.stdout
    )
