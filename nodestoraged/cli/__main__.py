"""`python -m nodestoraged.cli`: nodestoragectl from a source tree."""

import sys

from nodestoraged.cli.main import main

sys.exit(main())
