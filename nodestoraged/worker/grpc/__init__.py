"""The gRPC child: the one process, and the one package, in which grpc and protobuf live.

Started as `python -m nodestoraged.worker.grpc SOCKET`, it answers JSON lines and lives through
one operation.  An idle channel costs threads and wake-ups and a hung runtime hangs its caller,
so the daemon never imports any of this; it may not import the daemon either.
"""
