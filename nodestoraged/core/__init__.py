"""Pure decisions over the model: no I/O, no clock, no logging; equal inputs give equal answers."""
