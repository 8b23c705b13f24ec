"""Index huge ALF archives into the tables that ONE opens, with Polars and Arrow."""
