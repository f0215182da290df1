"""The local API: Varlink's wire format over a unix socket, server and client.

Import nothing here: the command line pays for every module that it loads.
"""
