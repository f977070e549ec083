"""Other projects doing the like on the same database, each in an environment of its own."""
