"""The checks of the console in a real browser. `.ci/console.py` runs them; `checks` lists them."""
