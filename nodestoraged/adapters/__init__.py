"""One module per outside thing; each makes a Protocol of `ports` true."""
