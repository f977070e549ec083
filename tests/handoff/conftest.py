from tests.fresh import (  # noqa: F401  # fixtures are found by their names
    admin,
    app,
    client,
    database,
    member,
    migrated,
    operator,
    people,
    shared_app,
)
from tests.served import server  # noqa: F401
