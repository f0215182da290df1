"""nodestoragectl: what people and scripts use.

It renders the daemon's JSON as it came.  Each verb loads only what it needs: the start of this
program is measured against a bare interpreter, so no dataclasses, no asyncio, no typing here.
"""
