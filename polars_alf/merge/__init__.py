"""The merge of several pairs of tables into one."""
