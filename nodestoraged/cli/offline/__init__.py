"""Verbs that need no daemon and may therefore load more than the others."""
