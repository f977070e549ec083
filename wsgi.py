"""What gunicorn loads."""

from app import create_app
from app.embedded import attach
from app.settings import load

app = create_app(attach(load()))
app.extensions["taskyard.bell"].listen()
