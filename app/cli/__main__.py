"""`python -m app.cli`: the command where nothing is installed but the requirements."""

from app.cli import main

main(prog_name="taskyard")
