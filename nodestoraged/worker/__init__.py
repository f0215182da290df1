"""The processes in which everything that can hang is done.

Owns: the warm process, its children, and the operations on disks, mounts and processes.
May not know: policy, plans, the event loop.  Imports `linux` and `model` only (gRPC lives in
`worker/grpc`), so that the warm process stays small and forks in about a millisecond.
"""
