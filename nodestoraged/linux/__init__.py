"""Thin, typed access to Linux: system calls, /proc and sysfs.

Owns: the one place where numbers from kernel headers and text formats of /proc appear.
May not know: anything of this project.  It imports nothing of ours outside this package and
raises only OSError (errno, strerror, filename), so that it can be read and tested by itself.

Values are NamedTuples and not dataclasses: the warm worker process imports this package, and
`dataclasses` (with `inspect`) alone would cost it more than a mebibyte.
"""
