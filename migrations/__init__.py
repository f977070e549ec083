"""How the database came to its shape, one script a change; env.py runs them."""
