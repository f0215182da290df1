"""`nodestoragectl doctor`: facts are gathered at the edge, and judged by a table of checks."""
