"""The numbers of this project, each as a ratio to something measured in the same run.

`make bench` runs them all; `python -m benchmarks NAME…` runs some.  A topic is a module
`bench_NAME.py` with `TARGETS` (the rows it promises) and `run(report)` (which measures them).
Scripts, not tests: nothing here is judged by `make test`.
"""
