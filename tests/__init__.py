"""The tests; a package, so that no other package called `tests` on the path stands before it."""
