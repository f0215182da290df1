"""The process that copies a runtime root: one request in, progress and one answer out.

It runs outside the daemon's sandbox and imports `linux` and the standard library only.  The
source is read and never written; the target is written and nothing of it is ever followed.
"""
