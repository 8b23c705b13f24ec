"""The merge of many tables into one pair."""
