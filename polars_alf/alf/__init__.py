"""The grammar and layout of ALF archives: names, paths, ids, labs."""
