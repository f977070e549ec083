from tests.faults.town import fragile_postgres, fragile_valkey, town  # noqa: F401
from tests.fresh import (  # noqa: F401  # fixtures are found by their names
    app,
    client,
    database,
    member,
    migrated,
    people,
    shared_app,
)
from tests.served import server  # noqa: F401
