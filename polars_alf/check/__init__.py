"""The check of sessions: what they lack, names that are misspelt, and sizes that do not fit."""
