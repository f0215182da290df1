"""Container runtimes: profile rows, and the client of the gRPC child."""
