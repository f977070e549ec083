"""A database with a million jobs: copies of an execution that the product made, rows and all.

Copying what is there needs to know no column but the keys, so a new column is copied as well.
"""

import psycopg
from psycopg import sql

BEGIN = """
SET session_replication_role = replica;  -- a foreign key a row would be most of the time spent
SET work_mem = '256MB';
CREATE TEMP TABLE copied_executions AS
    SELECT n, uuidv7() AS id FROM generate_series(1, {copies}) n;
CREATE TEMP TABLE copied_tasks AS
    SELECT t.id AS old, c.n, c.id AS execution_id, uuidv7() AS id
    FROM execution_tasks t CROSS JOIN copied_executions c WHERE t.execution_id = {template};
CREATE TEMP TABLE copied_jobs AS
    SELECT j.id AS old, c.n, c.id AS execution_id, uuidv7() AS id
    FROM copied_executions c CROSS JOIN jobs j WHERE j.execution_id = {template}
    ORDER BY c.n, j.id;
ANALYZE copied_tasks;
ANALYZE copied_jobs;
"""
END = "DROP TABLE copied_executions, copied_tasks, copied_jobs"


def copy_execution(url: str, template: str, copies: int) -> list[str]:
    """Answers the copies' ids. Their logs begin anew: a log's length costs no claim anything."""
    with psycopg.connect(url) as connection:
        connection.execute(
            sql.SQL(BEGIN).format(copies=sql.Literal(copies), template=sql.Literal(template))
        )
        _copy(
            connection,
            "executions",
            {"id": "c.id", "last_event": "0"},
            f"executions s CROSS JOIN copied_executions c WHERE s.id = '{template}'",
        )
        _copy(
            connection,
            "execution_tasks",
            {"id": "c.id", "execution_id": "c.execution_id", "parent_id": "p.id"},
            "execution_tasks s JOIN copied_tasks c ON c.old = s.id"
            " LEFT JOIN copied_tasks p ON p.old = s.parent_id AND p.n = c.n",
        )
        _copy(
            connection,
            "jobs",
            {"id": "c.id", "execution_id": "c.execution_id", "task_id": "t.id"},
            "copied_jobs c JOIN jobs s ON s.id = c.old"
            " LEFT JOIN copied_tasks t ON t.old = s.task_id AND t.n = c.n",
        )
        _copy(
            connection,
            "job_dependencies",
            {"id": "uuidv7()", "job_id": "c.id", "prerequisite_id": "p.id"},
            "job_dependencies s JOIN copied_jobs c ON c.old = s.job_id"
            " JOIN copied_jobs p ON p.old = s.prerequisite_id AND p.n = c.n",
        )
        made = connection.execute("SELECT id::text FROM copied_executions ORDER BY n").fetchall()
        connection.execute(END)
    return [row[0] for row in made]


def settle(url: str) -> None:
    """What autovacuum and the checkpointer would do soon is done before anything is measured."""
    with psycopg.connect(url, autocommit=True) as connection:
        for table in ("executions", "execution_tasks", "jobs", "job_dependencies"):
            connection.execute(sql.SQL("VACUUM ANALYZE {}").format(sql.Identifier(table)))
        connection.execute("CHECKPOINT")


def count_jobs(url: str) -> tuple[int, int, int]:
    """All, ready, and the lanes that the ready ones stand in."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE status = 'ready'),"
            " count(DISTINCT lane) FILTER (WHERE status = 'ready') FROM jobs"
        ).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def _copy(
    connection: psycopg.Connection[tuple[object, ...]],
    table: str,
    keys: dict[str, str],
    source: str,
) -> None:
    columns = [
        str(row[0])
        for row in connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass"
            " AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
            (table,),
        )
    ]
    values = [
        sql.SQL(keys[name]) if name in keys else sql.Identifier("s", name) for name in columns
    ]
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join(values),
            sql.SQL(source),
        )
    )
