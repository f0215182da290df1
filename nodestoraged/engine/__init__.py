"""The imperative shell: it knows ports, core and model, and no vendor library."""
