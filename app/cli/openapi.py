"""`taskyard openapi`: the document of the HTTP API."""

from __future__ import annotations

import click
import orjson


@click.command()
def openapi() -> None:
    """Print the OpenAPI document. Needs no running instance."""
    from app import create_app
    from app.api.document import document
    from app.settings import load

    # It follows from the code alone; the addresses are never called.
    app = create_app(
        load(
            {
                "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
                "REDIS_URL": "redis://127.0.0.1:1",
                "SECRET_KEY": "nothing is signed with this",
            }
        )
    )
    click.echo(orjson.dumps(document(app), option=orjson.OPT_INDENT_2))
